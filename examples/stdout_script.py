"""A program that prints in several ways: `devtrace record examples/stdout_script.py`."""

import logging
import sys


def greet(name):
    print("hello,", name)


def progress(steps):
    for step in range(1, steps + 1):
        sys.stdout.write(f"\rstep {step} of {steps}")
        sys.stdout.flush()
    print()


def warn(text):
    logging.getLogger("shop").warning(text)


logging.basicConfig(format="%(name)s: %(message)s")
greet("Ana")
progress(3)
warn("the basket is empty")
sys.stdout.flush()
sys.stdout.buffer.write(b"bytes, as they are: \xff\n")
