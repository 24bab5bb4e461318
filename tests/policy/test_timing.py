"""Times of output stay in step with the output, whatever is replaced in it."""

from __future__ import annotations

import json
import random

import pytest

from devtrace.policy.chain import WITHHELD, Policy
from devtrace.policy.timing import shifted

Steps = list[list[int]]


def steps_over(chance: random.Random, size: int) -> Steps:
    places = [*sorted(chance.randrange(size + 1) for _ in range(chance.randrange(12))), size]
    steps, at_us, before = [], 0, 0
    for place in places:
        steps.append([at_us, place - before])
        at_us, before = at_us + chance.randrange(1, 90_000), place
    return steps


@pytest.mark.parametrize("seed", range(200))
def test_the_steps_add_up_to_the_output_and_never_go_back(seed: int) -> None:
    chance = random.Random(seed)
    policy = Policy.for_session(
        {"API_TOKEN": "s3cr3t-value", "DB_PASSWORD": "xyzzy9"}, chance.choice([None, b"salt"])
    )
    words = [
        b"s3cr3t-value",
        b"xyzzy9",
        b"plain",
        b"\n",
        b"\x1b[31m",
        b"https://a:pw-9@h ",
        b"\xff\xfe",
        b"API_TOKEN=abc9 ",
    ]
    output = b"".join(chance.choices(words, k=chance.randrange(30)))
    steps = steps_over(chance, len(output))

    redacted, timing = policy.redact_output(output, json.dumps(steps).encode())

    told = json.loads(timing)
    assert sum(size for _, size in told) == len(redacted)
    assert all(size >= 0 for _, size in told)
    times = [at_us for at_us, _ in told]
    assert times == sorted(times)
    assert set(times) <= {at_us for at_us, _ in steps}
    assert b"s3cr3t-value" not in redacted
    assert b"xyzzy9" not in redacted


@pytest.mark.parametrize("seed", range(100))
def test_what_was_not_replaced_keeps_its_moment(seed: int) -> None:
    chance = random.Random(seed)
    letters = "".join(chr(0x4E00 + n) for n in range(40))  # each occurs once, so that it can be found again
    output = "".join(
        letter + ("s3cr3t-value" if chance.random() < 0.3 else "") for letter in letters
    ).encode()
    steps = steps_over(chance, len(output))

    redacted, timing = Policy.for_session({"API_TOKEN": "s3cr3t-value"}, None).redact_output(
        output, json.dumps(steps).encode()
    )

    def moments(data: bytes, steps: Steps) -> dict[str, int]:
        found = {}
        for letter in letters:
            place = data.index(letter.encode()) + 2  # its last byte
            for at_us, size in steps:
                if place < size:
                    found[letter] = at_us
                    break
                place -= size
        return found

    before, after = moments(output, steps), moments(redacted, json.loads(timing))
    late = [letter for letter in letters if after[letter] != before[letter]]
    # Only what comes in the step in which a replaced part goes on may belong to an earlier one: none does.
    assert late == []


def test_nothing_replaced_leaves_the_times_as_they_were() -> None:
    assert shifted(b"[[0,5],[7,1]]", 6, []) == b"[[0,5],[7,1]]"


@pytest.mark.parametrize(
    "timing", [b"", b"no json", b"{}", b"[1,2]", b'[["a",1]]', b"[[0,999]]", b"[[0,1]]", b"[]", b"[[0,-5]]"]
)
def test_times_that_do_not_fit_the_output_are_made_to_fit(timing: bytes) -> None:
    told = json.loads(shifted(timing, 10, [(2, 4, 20)]))

    assert sum(size for _, size in told) == 28


def test_withheld_output_is_one_step() -> None:
    def broken(*_: object) -> list[tuple[int, int, str, bytes | None]]:
        raise ValueError("a rule that fails")

    redacted, timing = Policy([broken]).redact_output(b"anything", b"[[0,3],[9,5]]")

    assert redacted == WITHHELD.encode()
    assert json.loads(timing) == [[0, len(WITHHELD)]]
