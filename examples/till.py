"""A till that is at work for a while, to be asked meanwhile: `devtrace probe add examples/till.py:14`."""

import itertools
import sys
import time

PRICES = {"tea": 3, "bread": 4, "honey": 9}


def due(customer, basket):
    total = sum(PRICES[name] for name in basket)
    if customer["is_regular"]:
        total = total * 9 // 10
    return total


def serve(number):
    customer = {"name": ["Ana", "Ben", "Chi"][number % 3], "is_regular": number % 2 == 0}
    basket = ["tea"] * (1 + number % 4) + ["honey"]
    return due(customer, basket)


if __name__ == "__main__":
    last = int(sys.argv[1]) if sys.argv[1:] else None
    taken = 0
    for number in itertools.islice(itertools.count(), last):
        taken += serve(number)
        time.sleep(0.1)
    print("taken:", taken)
