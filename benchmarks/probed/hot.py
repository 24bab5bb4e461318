"""The function that is watched: six statements, and a line that is never reached. Each variant has a copy."""

# ruff: noqa: ARG001, RET504 - names for a probe to see, and statements to be counted


def hot(user, number, items, options, name, ratio):
    first = number + 1
    second = first * 2
    x = second - number
    if x > 10_000:
        x = 0  # NEVER
    total = x + first  # HERE
    return total


def cold(number):
    return number + 1  # ELSEWHERE
