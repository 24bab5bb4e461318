"""Much is printed, and nothing else done."""


def printing(count: int) -> None:
    """So many lines to the standard output."""
    for number in range(count):
        print("line", number)
