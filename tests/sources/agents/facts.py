"""What the tests of all adapters begin with: a memory, recorded payloads, whether facts fit, and dice."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from devtrace.events import check_body, check_frame
from devtrace.sources.agents import base

PAYLOADS = Path(__file__).with_name("payloads")
HEARD_US = 1_795_226_340_000_000
ROUNDS = 400  # of the dice

_ODD: list[Any] = [
    *(None, True, False, 0, -1, 3, 2**70, 1e300, float("nan"), "", "x", "\ud800", "2026-13-45T99:99:99Z"),
    *(
        "0001-01-01T00:00:00Z",
        [],
        {},
        [None],
        {"": None},
        [[[]]],
        {"type": {}},
        [{"type": "text", "text": 3}],
    ),
]


class Memory:
    """Counts, as the hook process does between two hooks."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def count(self, name: str) -> int:
        self._counts[name] = self._counts.get(name, 0) + 1
        return self._counts[name]


def recorded(path: str) -> list[dict[str, Any]]:
    """The lines of a recorded file."""
    return [json.loads(line) for line in (PAYLOADS / path).read_text().splitlines()]


def told(fact: base.Fact) -> tuple[Any, ...]:
    """What identifies a fact, and the part of it that a reader looks for: (kind, key, status, what)."""
    data = fact["data"]
    what = {
        "prompt": data.get("text"),
        "assistant_message": data.get("text"),
        "tool_call": data.get("command") or data.get("paths") or data.get("input"),
        "agent_session": data.get("phase"),
        "agent_payload": (data.get("event"), data.get("why")),
    }
    return fact["kind"], fact["key"], fact["status"], what[fact["kind"]]


def keys(facts: Iterable[base.Fact], *kinds: str) -> set[tuple[str, str]]:
    """The kinds and keys of facts."""
    return {(fact["kind"], fact["key"]) for fact in facts if fact["kind"] in kinds}


def assert_fit(facts: Iterable[base.Fact], agent: str) -> None:
    """Every fact becomes a frame that the store takes."""
    for fact in facts:
        check_body(check_frame(_frame(fact, agent)))
        assert isinstance(fact["key"], str)
        assert set(fact) == {"kind", "native", "key", "started_us", "ended_us", "status", "data"}


def _frame(fact: base.Fact, agent: str) -> dict[str, Any]:
    return {
        "kind": fact["kind"],
        "session": "0" * 31 + "1",
        "id": base.event_id("hook", agent, fact),
        "parent": None,
        "actor": f"agent:{agent}",
        "started_us": HEARD_US if fact["started_us"] is None else fact["started_us"],
        "ended_us": fact["ended_us"],
        "status": fact["status"],
        "title": "",
        "cwd": fact["data"].get("cwd"),
        "exit_code": fact["data"].get("exit_code"),
        "source": "hook",
        "exit_source": None,
        "trusted": 0,
        "data": {"agent": agent, **fact["data"]},
    }


def mutants(values: list[dict[str, Any]], rounds: int = ROUNDS) -> Iterator[dict[str, Any]]:
    """Recorded objects in which one to three fields became something else; the seed is printed."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - shown where a test fails
    dice = random.Random(seed)
    for _ in range(rounds):
        value = copy.deepcopy(dice.choice(values))
        for _ in range(dice.randint(1, 3)):
            _mutate(value, dice)
        yield value


def _mutate(value: dict[str, Any], dice: random.Random) -> None:
    """Replace, take away, wrap or add something at a place found by walking down."""
    place: Any = value
    while True:
        names = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not names:
            return
        name = dice.choice(names)
        if not isinstance(place[name], dict | list) or not place[name] or dice.random() < 0.3:
            break
        place = place[name]
    chance = dice.random()
    if chance < 0.6:
        place[name] = copy.deepcopy(dice.choice(_ODD))
    elif chance < 0.8:
        del place[name]
    elif chance < 0.9:
        place[name] = {"inner": place[name]}
    else:
        place[name] = _deep(place[name], dice.choice([3, 70, 300]))


def _deep(value: Any, levels: int) -> Any:
    for _ in range(levels):
        value = [value]
    return value
