"""Four threads that call a function all the time."""

import threading


def step(number: int) -> int:
    """What each thread calls all the time."""
    return number + 1


def turns(count: int) -> int:
    """The work of one thread."""
    total = 0
    for _ in range(count):
        total = step(total)
    return total


def threads(count: int) -> None:
    """Four of them at once."""
    working = [threading.Thread(target=lambda: turns(count)) for _ in range(4)]
    for thread in working:
        thread.start()
    for thread in working:
        thread.join()
