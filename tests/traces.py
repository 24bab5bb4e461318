"""Recorded programs to be read: a small one with something of everything, run by a real interpreter.

Lives here: `PROGRAM`, `record`, `take_in`. Not here: any test, records written by hand (tests/store/pens.py).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from devtrace.services.refresh import open_fresh
from devtrace.workspace import Workspace
from tests.processes import DEADLINE, environment

PROGRAM = """\
import asyncio
import sys
import threading


class Item:
    def __init__(self, name, price):
        self.name = name
        self.price = price


def fib(n):
    if n < 2:
        return n
    return fib(n - 1) + fib(n - 2)


def total(items, discount=0):
    result = 0
    for item in items:
        result += item.price
        if item.price > 90:
            label = "dear " + item.name
    return result - discount


def parse(text):
    return int(text)


def careful(text):
    try:
        return parse(text)
    except ValueError as error:
        reason = str(error)
        return -1


def deep(n):
    if n == 0:
        raise KeyError("bottom")
    return deep(n - 1)


def worker(n):
    return fib(n)


async def fetch(name):
    await asyncio.sleep(0)
    return name.upper()


async def gather():
    return await asyncio.gather(fetch("a"), fetch("b"))


def main():
    items = [Item("ham", 40), Item("egg", 60), Item("wine\\x1b[31m", 95)]
    total(items, discount=10)
    careful("12")
    careful("twelve")
    fib(10)
    thread = threading.Thread(target=worker, args=(3,), name="helper")
    thread.start()
    thread.join()
    asyncio.run(gather())
    try:
        deep(30)
    except KeyError:
        pass
    if "fail" in sys.argv:
        raise RuntimeError("the end of " + items[0].name)


main()
"""


def line_of(text: str, source: str = PROGRAM) -> int:
    """The number of the only line that holds a text."""
    (number,) = [at for at, line in enumerate(source.splitlines(), 1) if text in line]
    return number


def record(
    workspace: Workspace,
    *words: str,
    source: str = PROGRAM,
    python: str = sys.executable,
    name: str = "shop.py",
    **variables: str,
) -> Path:
    """Run a program recorded, in the folder around the store; returns its file."""
    file = workspace.dir.parent / name
    file.write_text(source)
    subprocess.run(
        [python, "-m", "devtrace.recorder", name, *words],
        cwd=file.parent,
        env=environment(DEVTRACE_DIR=str(workspace.dir), **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )
    return file


def take_in(workspace: Workspace) -> str:
    """What any reading command does first; returns the session of the newest trace."""
    fresh = open_fresh(workspace)
    try:
        assert fresh.stale is None
        newest = "SELECT id FROM sessions WHERE kind = 'recorder' ORDER BY started_us DESC, id DESC LIMIT 1"
        return str(fresh.db.execute(newest).fetchone()[0])
    finally:
        fresh.db.close()
