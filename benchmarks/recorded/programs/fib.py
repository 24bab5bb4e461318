"""Nothing but calls."""


def fib(n: int) -> int:
    """Two lines a call, most of the time."""
    if n < 2:
        return n
    return fib(n - 1) + fib(n - 2)


def recursion(n: int) -> int:
    """`fib`, called from outside."""
    return fib(n)
