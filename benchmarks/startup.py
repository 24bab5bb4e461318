"""How long until the first prompt: `devtrace shell` beside the bare shell, script and asciinema.

They take turns, each on a fresh pseudo-terminal, in a home whose start-up file only sets the prompt. What is
counted is what `devtrace shell` adds to the shell's own start.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from benchmarks import Row
from benchmarks.prompt import Prompt, Shell, devtrace, home, median_ms, row, shells


def measure(*, quick: bool = False) -> list[Row]:
    """The first prompt of bash and zsh, then `devtrace --help`."""
    rounds = 5 if quick else 21
    named = [shell for shell in shells() if shell.path in (shutil.which("bash"), shutil.which("zsh"))]
    rows = [line for shell in named for line in first_prompt(shell, rounds)]
    return [*rows, *help_page(rounds)]


def first_prompt(shell: Shell, rounds: int) -> list[Row]:
    """From starting the program to its first prompt, over the bare shell's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = home(folder, shell.name)
        times: dict[str, list[float]] = {}
        for _ in range(rounds + 1):
            for contender, argv in contenders(shell).items():
                with closing(Prompt(argv, environment, folder)) as prompt:
                    times.setdefault(contender, []).append(prompt.first())
    medians = {contender: median_ms(values[1:]) for contender, values in times.items()}
    over = {contender: median - medians["bare shell"] for contender, median in medians.items()}
    rows = [
        row(f"{shell.label}: first prompt, over bare", over["ours"], peer, over[peer], budget="<= 100 ms")
        for peer in ("script", "asciinema")
        if peer in over
    ]
    missing = [peer for peer in ("script", "asciinema") if peer not in over]
    rows += [
        row(f"{shell.label}: first prompt, over bare", over["ours"], peer, reason="not installed")
        for peer in missing
    ]
    whole = row(f"{shell.label}: first prompt", medians["ours"], "bare shell", medians["bare shell"])
    return [*rows, whole]


def contenders(shell: Shell) -> dict[str, list[str]]:
    """Who starts the shell, by what command line."""
    found = {
        "bare shell": [shell.path, "-i"],
        "ours": devtrace("shell", "--no-login", "--shell", shell.path),
    }
    if shutil.which("script"):
        found["script"] = ["script", "-qc", f"{shell.path} -i", os.devnull]
    if shutil.which("asciinema"):
        found["asciinema"] = ["asciinema", "rec", "-q", "--overwrite", "-c", f"{shell.path} -i", "a.cast"]
    return found


def help_page(rounds: int) -> list[Row]:
    """`devtrace --help` beside an interpreter that does nothing."""
    commands = {"ours": devtrace("--help"), "python -c pass": [sys.executable, "-c", "pass"]}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, argv in commands.items():
            begun = time.perf_counter()
            subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
            times[name].append(time.perf_counter() - begun)
    ours, bare = median_ms(times["ours"]), median_ms(times["python -c pass"])
    return [row("`devtrace --help`", ours, "python -c pass", bare)]
