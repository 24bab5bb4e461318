"""Nothing but lines. One program a file: some recorders look at all globals at each line."""


def loop(count: int) -> int:
    """Three lines a turn."""
    s = 0
    for i in range(count):
        x = i * 2
        s += x
    return s
