"""The floors of redaction on a generated corpus: what is found, what is taken for a secret and is none."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from benchmarks import benign, corpus
from benchmarks.redaction import LEAST_FOUND, LEAST_FOUND_UNSEEN, MOST_FALSE
from devtrace.policy.chain import Policy
from devtrace.policy.reasons import reason_of
from devtrace.policy.stream import Stream

FIXED = 20_261_121
SEEDS = [FIXED, random.SystemRandom().randrange(1 << 32)]
SIZE = 28 * 1024  # bytes of each kind of benign text: 500 KB in all

each_seed = pytest.mark.parametrize("nth", range(len(SEEDS)), ids=["a fixed seed", "a seed of this run"])


def streamed(chunks: Iterable[bytes]) -> bytes:
    """What a policy that knows nothing beforehand leaves of bytes that come in these pieces."""
    stream = Stream(Policy.for_session({}, b"salt" * 8))
    return b"".join([*map(stream.feed, chunks), stream.close()])


def test_the_corpus_is_large_enough_to_say_something() -> None:
    assert len(corpus.PUBLISHED) >= 40
    assert len(corpus.NEUTRAL) >= 8
    assert len(corpus.HELD_OUT) >= 5
    assert len(benign.KINDS) * SIZE >= 500 * 1024


@each_seed
def test_nearly_every_secret_is_hidden_and_most_of_a_form_that_nobody_knows(nth: int) -> None:
    parts = corpus.counted(SEEDS[nth], streamed)

    missed = [missing for _, missing in parts.values()]
    number = sum(total for total, _ in parts.values())
    assert sum(map(len, missed)) <= (1 - LEAST_FOUND) * number, (SEEDS[nth], missed)
    unseen, missing = parts["held out"]
    assert len(missing) <= (1 - LEAST_FOUND_UNSEEN) * unseen, (SEEDS[nth], missing)


@each_seed
def test_no_kind_and_no_place_is_missed_altogether(nth: int) -> None:
    found: dict[tuple[str, str], int] = {}
    for sample in corpus.samples(SEEDS[nth], times=2):
        is_found = corpus.is_hidden(sample.secret, streamed(sample.chunks))
        for name in (sample.kind, sample.context):
            found[sample.part, name] = found.get((sample.part, name), 0) + is_found

    assert [name for name, number in found.items() if number == 0] == [], SEEDS[nth]


@each_seed
def test_little_of_what_holds_no_secret_is_hidden(nth: int) -> None:
    false: list[bytes] = []
    size = 0
    policy = Policy.for_session({"API_TOKEN": "tr0ub4dor-and-3", "PATH": "/usr/bin"}, b"salt" * 8)
    for make in benign.KINDS.values():
        data = benign.text_of(make, SIZE, SEEDS[nth]).encode()
        false += [data[max(0, hit.start - 40) : hit.end + 20] for hit in policy.find(data)]
        size += len(data)

    assert len(false) <= MOST_FALSE * size / (100 * 1024), (SEEDS[nth], false[:20])


@each_seed
def test_redacting_twice_changes_nothing(nth: int) -> None:
    policy = Policy.for_session({}, b"salt" * 8)
    texts = [sample.text for sample in corpus.samples(SEEDS[nth])]
    texts += [benign.text_of(make, 4096, SEEDS[nth]).encode() for make in benign.KINDS.values()]
    for text in texts:
        once = policy.redact_bytes(text)

        assert policy.redact_bytes(once) == once, SEEDS[nth]


@pytest.mark.parametrize(
    "user",
    ["[redacted:github-token:0a1b2c3d]", "[redacted:url-password]", "[redacted:a]:[redacted:b:0a1b2c3d]"],
)
def test_a_marker_in_the_place_of_a_user_stays(user: str) -> None:
    text = f"git clone https://{user}@example.org/a.git"

    assert Policy.for_session({}, b"salt" * 8).redact_text(text) == text


def test_every_rule_that_finds_something_can_say_why() -> None:
    policy = Policy.for_session({}, b"salt" * 8)
    for sample in corpus.samples(FIXED):
        policy.redact_bytes(sample.text)

    assert len(policy.counts) >= 40
    assert [rule for rule in policy.counts if "a rule of your own" in reason_of(rule)] == []


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_secret_in_two_chunks_is_hidden_wherever_it_is_cut(times: int) -> None:
    chance = random.Random(FIXED + times)
    secret = corpus.made(corpus.PUBLISHED["GitHub personal token"], chance)
    text = f"value {secret} end\n".encode()

    left = {streamed((text[:at], text[at:])) for at in range(len(text) + 1)}

    assert len(left) == 1, FIXED
    assert corpus.is_hidden(secret, left.pop())
