"""What the tests of the adapters share: recorded payloads, a memory, frames, payloads changed by dice.

Not here: what a client's payloads mean (its own test).
"""

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from devtrace.events import DOES, check_body, check_frame
from devtrace.sources.agents.base import Fact, event_id

PAYLOADS = Path(__file__).parent / "payloads"
AT_US = 1_795_226_342_000_000


class Counted:
    """A memory that lives as long as the test."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def count(self, name: str) -> int:
        self._counts[name] += 1
        return self._counts[name]


def lines(*name: str) -> list[Any]:
    """The JSON lines of one recorded file."""
    return [json.loads(line) for line in PAYLOADS.joinpath(*name).read_text("utf-8").splitlines()]


def heard(adapter: Any, payloads: Iterable[Any], at_us: int = AT_US) -> list[Fact]:
    """What an adapter makes of payloads that come a second after each other."""
    memory = Counted()
    facts: list[Fact] = []
    for number, payload in enumerate(payloads):
        if isinstance(payload, dict):  # a client starts other programs too, which send nothing
            facts += adapter.parse("", payload, at_us + number * 1_000_000, memory)
    return facts


def fit(adapter: Any, facts: Iterable[Fact]) -> list[Fact]:
    """The facts, each of which has the shape of its event and ids that JSON can carry."""
    facts = list(facts)
    for fact in facts:
        check_body(check_frame(_frame(adapter.NAME, fact)))
        json.dumps(fact)
        if fact["kind"] == "tool_call":
            assert fact["data"]["does"] in DOES
    return facts


def _frame(agent: str, fact: Fact) -> dict[str, Any]:
    data = {"agent": agent, **fact["data"]}
    return {
        "kind": fact["kind"],
        "session": "a" * 32,
        "id": event_id("hook", agent, fact),
        "parent": None,
        "actor": f"agent:{agent}",
        "started_us": AT_US if fact["started_us"] is None else fact["started_us"],
        "ended_us": fact["ended_us"],
        "status": fact["status"],
        "title": "",
        "cwd": data.get("cwd"),
        "exit_code": data.get("exit_code"),
        "source": "hook",
        "exit_source": None,
        "trusted": 0,
        "data": data,
        "blobs": {},
    }


def survives(adapter: Any, seed: int, payloads: Iterable[Any]) -> None:
    """Each payload, changed by dice, becomes facts that fit."""
    for recorded in payloads:
        for changed in mutants(seed, [recorded], 5):
            for payload in changed:
                if isinstance(payload, dict):
                    fit(adapter, adapter.parse("", payload, AT_US, Counted()))


def calls(facts: Iterable[Fact]) -> list[Fact]:
    """The tool calls among them."""
    return [fact for fact in facts if fact["kind"] == "tool_call"]


def fields(facts: Iterable[Fact], *names: str) -> list[tuple[Any, ...]]:
    """Of each fact these: its own, else those of its data."""
    return [tuple(fact.get(name, fact["data"].get(name)) for name in names) for fact in facts]


# --- payloads changed by dice -----------------------------------------------------------------------------

_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    3.7,
    1e300,
    float("inf"),
    float("nan"),
    1 << 70,
    "",
    "x",
    "\ud800",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59-14:00",
    "Exit code 3",
    "{",
    [],
    {},
    [[]],
    [None, 1, {"text": 2}],
    {"a": {"b": [1]}},
)


def mutants(seed: int, payloads: list[Any], number: int) -> Iterator[list[Any]]:
    """The payloads again and again, one to five places of them changed each time."""
    dice = random.Random(seed)
    for _ in range(number):
        changed = copy.deepcopy(payloads)
        for _ in range(dice.randint(1, 5)):
            if changed:
                _change(dice, changed, dice.randrange(len(changed)))
        yield changed


def _change(dice: random.Random, inside: Any, place: Any) -> None:
    """Change what stands there, or something within it."""
    value = inside[place]
    if value and isinstance(value, dict | list) and dice.random() < 0.8:
        _change(
            dice, value, dice.choice(list(value)) if isinstance(value, dict) else dice.randrange(len(value))
        )
        return
    kind = dice.randrange(4)
    if kind == 0:
        del inside[place]
    elif kind == 1:
        inside[place] = {dice.choice(("type", "id", "text", "content")): value}
    elif kind == 2:
        inside[place] = [value, copy.deepcopy(dice.choice(_VALUES))]
    else:
        inside[place] = copy.deepcopy(dice.choice(_VALUES))


def written(path: Path, payloads: Iterable[Any], torn_at: float | None = None) -> Path:
    """The payloads as JSON lines; `torn_at`: which part of the file is left."""
    text = "".join(json.dumps(payload) + "\n" for payload in payloads)
    path.write_text(text if torn_at is None else text[: int(len(text) * torn_at)], "utf-8")
    return path
