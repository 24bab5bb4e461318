"""What a terminal in between costs: bytes a second, a key and its echo, a program from start to end.

`devtrace shell` (recording, with its store) beside script and asciinema, in turn, in one run. The screen is
a pseudo-terminal that `cat` empties into nothing, so that nobody is held up by the one who looks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path

from benchmarks import Row
from benchmarks.prompt import Prompt, devtrace, home, median_ms, row

PEERS = ("script", "asciinema")
# The program opens the terminal as a session leader, and so has it as its controlling one.
_ADOPT = ["/bin/sh", "-c", 'tty=$1; shift; exec "$@" <>"$tty" >&0 2>&0', "sh"]
_LINE = 78  # bytes of a line of base64 on a terminal: 76 characters, CR, LF


def measure(*, quick: bool = False) -> list[Row]:
    """Throughput of a terminal and of a pipe, echo, start to end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = home(folder, "bash")
        subprocess.run(devtrace("init"), env=environment, cwd=folder, capture_output=True, check=True)
        return [
            *flood(folder, environment, megabytes=15 if quick else 50, rounds=2 if quick else 5),
            pipe(folder, environment, megabytes=50 if quick else 200, rounds=2 if quick else 5),
            *echo(folder, environment, keys=50 if quick else 300),
            *start_to_end(folder, environment, rounds=3 if quick else 15),
        ]


def contenders(folder: Path, command: str) -> dict[str, list[str]]:
    """Who runs the command line on a terminal of its own, and how."""
    found = {
        "ours": devtrace("shell", "--", "sh", "-c", command),
        "bare terminal": ["sh", "-c", command],
        "script": ["script", "-qe", "-c", command, os.devnull],
        "asciinema": ["asciinema", "rec", "-q", "--overwrite", "-c", command, str(folder / "cast")],
    }
    return {who: argv for who, argv in found.items() if who not in PEERS or shutil.which(who)}


def flood(folder: Path, environment: dict[str, str], megabytes: int, rounds: int) -> list[Row]:
    """Megabytes of base64 through the terminal, the best of the rounds."""
    count = megabytes * 1_000_000
    written = count * 4 / 3 / 76 * _LINE / 1e6
    rates: dict[str, list[float]] = {}
    for _ in range(rounds):
        for who, argv in contenders(folder, f"head -c {count} /dev/zero | base64").items():
            rates.setdefault(who, []).append(written / on_a_screen(argv, environment, folder))
    best = {who: max(values) for who, values in rates.items()}
    return [
        compare("terminal throughput", best, peer, "MB/s", ">= 0.8x" if peer == "script" else "")
        for peer in (*PEERS, "bare terminal")
    ]


def pipe(folder: Path, environment: dict[str, str], megabytes: int, rounds: int) -> Row:
    """Megabytes through our pipes, where stdout is no terminal, beside a `cat` in between."""
    command = f"head -c {megabytes}000000 /dev/zero"
    argv = {"ours": devtrace("shell", "--", *command.split()), "cat": ["sh", "-c", f"{command} | cat"]}
    rates: dict[str, list[float]] = {}
    for _ in range(rounds):
        for who, words in argv.items():
            begun = time.perf_counter()
            with subprocess.Popen(
                words, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            ) as process:
                assert process.stdout is not None
                subprocess.run(["cat"], stdin=process.stdout, stdout=subprocess.DEVNULL, check=True)
            rates.setdefault(who, []).append(megabytes / (time.perf_counter() - begun))
    return compare("pipe throughput", {who: max(values) for who, values in rates.items()}, "cat", "MB/s")


def echo(folder: Path, environment: dict[str, str], keys: int) -> list[Row]:
    """A key typed into `cat`, until the terminal shows it."""
    medians = {}
    for who, argv in contenders(folder, "printf 'ready> '; exec cat").items():
        with closing(Prompt(argv, environment, folder)) as prompt:
            prompt.first()
            prompt.settle()
            times = [prompt_echo(prompt) for _ in range(keys)]
            os.write(prompt.fd, b"\n\x04")
        medians[who] = median_ms(times)
    return [compare("a key and its echo", medians, peer, "ms") for peer in (*PEERS, "bare terminal")]


def prompt_echo(prompt: Prompt) -> float:
    """Seconds until a typed key comes back."""
    begun = time.perf_counter()
    os.write(prompt.fd, b"x")
    os.read(prompt.fd, 1)
    return time.perf_counter() - begun


def start_to_end(folder: Path, environment: dict[str, str], rounds: int) -> list[Row]:
    """`true`, from the command line to its status."""
    times: dict[str, list[float]] = {}
    for _ in range(rounds + 1):
        for who, argv in contenders(folder, "true").items():
            times.setdefault(who, []).append(on_a_screen(argv, environment, folder))
    medians = {who: median_ms(values[1:]) for who, values in times.items()}
    return [compare("`true`, start to end", medians, peer, "ms") for peer in (*PEERS, "bare terminal")]


def on_a_screen(argv: list[str], environment: dict[str, str], folder: Path) -> float:
    """Run on a fresh terminal that `cat` empties; seconds until the end."""
    master, slave = os.openpty()
    begun = time.perf_counter()
    process = subprocess.Popen(
        [*_ADOPT, os.ttyname(slave), *argv], env=environment, cwd=folder, start_new_session=True
    )
    reader = subprocess.Popen(["cat"], stdin=master, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(master)
    status = process.wait()
    taken = time.perf_counter() - begun
    os.close(slave)
    reader.wait()
    if status:
        raise RuntimeError(f"{argv[0]} ended with {status}")
    return taken


def compare(what: str, figures: dict[str, float], peer: str, unit: str, budget: str = "") -> Row:
    """Our figure beside the peer's, or why there is none."""
    missing = "" if peer in figures else "not installed"
    return row(what, figures["ours"], peer, figures.get(peer), unit=unit, budget=budget, reason=missing)
