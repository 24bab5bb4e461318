"""What the policy costs: microseconds a kilobyte, on commands and on terminal output of several kinds.

The texts are generated, the same in every run: a build's log, coloured test output, a source file full of
words like `token` and `key`, an environment dump with real secrets, long lines without a break, and all kinds
of benign.py. Below stands what is found of the labelled corpus (corpus.py), and what where nothing is.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable
from functools import partial

from benchmarks import Row, benign, corpus
from benchmarks.prompt import row
from devtrace.policy.chain import Policy
from devtrace.policy.stream import Stream

_KB = 1024
_SIZE = 64 * _KB  # of each kind: what one command's output may keep at its head
_BUDGET = "<= 200 us/KB"
_KNOWN = 60  # values that are known
MOST_FALSE = 3  # in 100 KB of benign text
LEAST_FOUND, LEAST_FOUND_UNSEEN = 0.98, 0.90  # of all secrets, and of those of a form that no rule knows


def measure(*, quick: bool = False) -> list[Row]:
    """One row a kind of text; the best of several rounds, since nothing here waits for anybody."""
    chance = random.Random(20_261_121)
    policy = Policy.for_session(environment(chance), b"salt" * 8)
    rounds = 2 if quick else 5
    rows = []
    for name, make in KINDS.items():
        data = filled(make, chance).encode()
        took = best(partial(policy.redact_output, data, json.dumps([[0, len(data)]]).encode()), rounds)
        rows.append(row(f"output: {name}", took * 1e6 * _KB / len(data), budget=_BUDGET, unit="us/KB"))
    commands = [command(chance) for _ in range(2000)]
    size = sum(len(text) for text in commands)
    took = best(lambda: [policy.redact_text(text) for text in commands], rounds)
    per_command = took * 1e6 / len(commands)
    rows.append(row("commands, of 40 characters", took * 1e6 * _KB / size, budget=_BUDGET, unit="us/KB"))
    rows.append(row("commands, each", per_command, unit="us"))
    return rows + benign_rows(rounds) + found_rows()


def benign_rows(rounds: int) -> list[Row]:
    """What each kind of benign text costs with all rules on, and what is found in it by mistake."""
    rows, hidden, size = [], 0, 0
    for name, make in benign.KINDS.items():
        data = benign.text_of(make, _SIZE, seed=20_261_121).encode()
        policy = Policy.for_session(environment(random.Random(1), secrets=_KNOWN), b"salt" * 8)
        took = best(partial(policy.redact_bytes, data), rounds)
        rows.append(row(f"benign: {name}", took * 1e6 * _KB / len(data), budget=_BUDGET, unit="us/KB"))
        hidden, size = hidden + len(policy.find(data)), size + len(data)
    per_part = hidden * 100 * _KB / size
    return [*rows, row("false positives in 100 KB", per_part, budget=f"<= {MOST_FALSE}", unit="")]


def found_rows() -> list[Row]:
    """Which share of the labelled corpus is hidden."""
    parts = corpus.counted(20_261_121, streamed)
    number = sum(total for total, _ in parts.values())
    missed = sum(len(missing) for _, missing in parts.values())
    rows = [row("recall", 1 - missed / number, budget=f">= {LEAST_FOUND}", unit="")]
    for part, (total, missing) in parts.items():
        budget = f">= {LEAST_FOUND_UNSEEN}" if part == "held out" else ""
        rows.append(row(f"recall: {part}, {total} samples", 1 - len(missing) / total, budget=budget, unit=""))
    return rows


def streamed(chunks: Iterable[bytes]) -> bytes:
    """What a policy that knows nothing beforehand leaves of bytes that come in these pieces."""
    stream = Stream(Policy.for_session({}, b"salt" * 8))
    return b"".join([*map(stream.feed, chunks), stream.close()])


def environment(chance: random.Random, secrets: int = 10) -> dict[str, str]:
    """So many secrets, and three times as many other variables."""
    kinds = ("PLAIN", "PATH", "MODE", "SERVICE_TOKEN")
    names = [f"{kind}_{number}" for number in range(secrets) for kind in kinds]
    return {name: word(chance, 24) for name in names}


def filled(make: Callable[[random.Random], str], chance: random.Random) -> str:
    """Lines of one kind until the size is reached."""
    lines, size = [], 0
    while size < _SIZE:
        lines.append(make(chance))
        size += len(lines[-1])
    return "".join(lines)


def word(chance: random.Random, length: int = 8) -> str:
    """Some letters."""
    return "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=length))


def build_log(chance: random.Random) -> str:
    """A compiler's line."""
    return (
        f"[{chance.randrange(999):4}/1000] Building C object src/{word(chance)}/{word(chance)}.c.o -O2 -g\r\n"
    )


def coloured_tests(chance: random.Random) -> str:
    """A test runner's line, in colours."""
    name, share = f"tests/test_{word(chance)}.py::test_{word(chance)}", chance.randrange(99)
    return f"{name} \x1b[32mPASSED\x1b[0m\x1b[33m [ {share}%]\x1b[0m\r\n"


def source(chance: random.Random) -> str:
    """A line of a program that deals in tokens and keys."""
    name = chance.choice(("token", "key", "secret", "password", "index"))
    shape = chance.choice(("{0} = {1}.get({0})", "def {0}_of({1}, key=None):", "self.{0} = {1}[{0}] == {0}"))
    return "    " + shape.format(name, word(chance)) + "\r\n"


def secrets(chance: random.Random) -> str:
    """A line of an environment dump: every other one is a secret."""
    name = chance.choice(("API_TOKEN", "DB_PASSWORD", "EDITOR", "PAGER"))
    return chance.choice(
        (f"{name}={word(chance, 32)}\r\n", f"https://user:{word(chance)}@{word(chance)}.example/\r\n")
    )


def unbroken(chance: random.Random) -> str:
    """Minified text: 16 KB without a line break, with the characters the rules look for."""
    return "".join(f'{word(chance)}="{word(chance, 5)}";key:{word(chance, 4)}--' for _ in range(500)) + "\r\n"


def command(chance: random.Random) -> str:
    """What people type."""
    shapes = ("git commit -m '{} {}'", "make {} && ./{} --verbose=1", "curl https://{}.example/{}?page=2")
    return chance.choice(shapes).format(word(chance), word(chance)).ljust(40)


KINDS = {
    "a build's log": build_log,
    "coloured test results": coloured_tests,
    "a source about tokens": source,
    "an environment with secrets": secrets,
    "long lines": unbroken,
}


def best(work: Callable[[], object], rounds: int) -> float:
    """The shortest of several runs, in seconds of the processor: others may be at work beside us."""
    took = []
    for _ in range(rounds):
        begun = time.process_time()
        work()
        took.append(time.process_time() - begun)
    return min(took)
