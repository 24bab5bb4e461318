"""A program to record: `devtrace record examples/cart.py`."""


def total(prices, discount=0):
    found = 0
    for price in prices:
        found += price
    return found - discount


def checkout(items):
    try:
        prices = []
        for item in items:
            prices.append(item["price"])
        return total(prices, discount=5)
    except KeyError as error:
        print(f"no {error} in {items}")
        return None


print(checkout([{"price": 20}, {"price": 7}]))
print(checkout([{"cost": 20}]))
