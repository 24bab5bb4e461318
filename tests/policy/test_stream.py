"""However bytes are cut into pieces, the same is masked, and all of what is no secret comes out."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest

from devtrace.policy.chain import Found, Policy
from devtrace.policy.stream import BLOCK, Stream
from tests.policy.conftest import SALT

KNOWN = "kn0wn-value-of-the-environment"
KEY = (
    "-----BEGIN OPENSSH PRIVATE KEY-----\n"
    + "".join("b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n" for _ in range(60))
    + "-----END OPENSSH PRIVATE KEY-----\n"
)
SECRETS = {
    "t0p-s3cret-password": "DB_PASSWORD={}\n",
    "ghp_0123456789abcdefghijABCDEFGHIJ012345": "remote: {} done\n",
    "corr3ct-h0rse": "clone https://ana:{}@git.example/x.git\n",
    KNOWN: "say {}\n",
    "c0l\x1b[1mour\x1b[0med-passw0rd": "\x1b[32mAPI_TOKEN\x1b[0m={}\n",
}


@pytest.fixture
def chance() -> random.Random:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it when the test fails
    return random.Random(seed)


def policy() -> Policy:
    return Policy.for_session({"A_TOKEN": KNOWN}, SALT)


def pieces(data: bytes, chance: random.Random, longest: int) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = chance.randint(1, longest)
        yield data[at : at + size]
        at += size


def streamed(parts: Iterator[bytes] | list[bytes]) -> bytes:
    stream = Stream(policy())
    return b"".join([*(stream.feed(part) for part in parts), stream.close()])


def text(chance: random.Random, size: int) -> bytes:
    """Lines of every length, secrets among them, a key, and stretches without a line's end."""
    lines, length = [], 0
    while length < size:
        what = chance.random()
        if what < 0.1:
            secret, shape = chance.choice(list(SECRETS.items()))
            line = shape.format(secret)
        elif what < 0.11:
            line = KEY
        elif what < 0.12:
            line = "x" * chance.randrange(100_000)
        else:
            line = "a plain word, " * chance.randrange(12) + "\n"
        lines.append(line)
        length += len(line)
    return "".join(lines).encode()


@pytest.mark.parametrize("longest", [7, 400, 70_000])
def test_what_is_masked_does_not_depend_on_how_the_bytes_are_cut(chance: random.Random, longest: int) -> None:
    data = text(chance, 300_000)
    at_once = streamed([data])

    assert streamed(pieces(data, chance, longest)) == at_once
    for secret in SECRETS:
        assert secret.encode() not in at_once
    assert b"b3BlbnNzaC1rZXk" not in at_once


def test_a_short_text_is_redacted_as_a_whole_one(chance: random.Random) -> None:
    data = text(chance, 20_000)[:BLOCK]

    assert streamed(pieces(data, chance, 50)) == policy().redact_bytes(data)


@pytest.mark.parametrize(("secret", "shape"), SECRETS.items())
def test_a_secret_is_found_wherever_a_block_ends(secret: str, shape: str) -> None:
    line = shape.format(secret).encode()
    for before in range(BLOCK - len(line) - 2, BLOCK + 3):
        data = b"\n" * before + line + b"after\n" * 3000

        redacted = streamed([data])

        assert secret.encode() not in redacted, before
        assert redacted.endswith(b"after\n" * 3000)
        assert redacted.startswith(b"\n" * before)


@pytest.mark.parametrize(("secret", "shape"), SECRETS.items())
def test_a_secret_is_found_in_a_line_without_end(secret: str, shape: str) -> None:
    line = shape.format(secret).strip().encode()
    for before in range(2 * BLOCK - len(line) - 2, 2 * BLOCK + 3, 3):
        data = b" " * before + line + b" after" * 9000

        assert secret.encode() not in streamed([data]), before


def test_a_key_is_masked_across_blocks() -> None:
    for before in range(BLOCK - len(KEY), BLOCK + 100, 97):
        data = b"\n" * before + KEY.encode() + b"after\n" * 20_000

        redacted = streamed([data])

        assert b"b3BlbnNzaC1rZXk" not in redacted, before
        assert redacted.count(b"after\n") == 20_000


def test_plain_bytes_come_out_as_they_went_in(chance: random.Random) -> None:
    data = bytes(chance.choices(range(256), k=200_000))

    assert streamed(pieces(data, chance, 5_000)) == streamed([data])
    plain = re.sub(rb"[^ -~\n]", b".", b"just words, one after the other\n" * 8_000)
    assert streamed(pieces(plain, chance, 5_000)) == plain


def test_no_more_is_held_back_than_could_become_a_secret() -> None:
    stream = Stream(policy())
    for _ in range(200):
        stream.feed(b"a line of a build's log\n" * 100)

        assert stream.held < 3 * BLOCK


def test_who_cannot_wait_gets_everything_and_a_secret_that_breaks_off_is_masked() -> None:
    stream = Stream(policy())
    first = stream.feed(b"A_PASSWORD=t0p-s3cret ; say " + KNOWN[:12].encode()) + stream.flush()
    rest = stream.feed(KNOWN[12:].encode() + b" and go on\n") + stream.close()

    assert stream.held == 0
    assert KNOWN[:12].encode() not in first
    assert KNOWN[12:].encode() not in rest
    assert b"t0p-s3cret" not in first
    assert rest.endswith(b" and go on\n")


def test_where_secrets_stand_is_told_by_their_place_in_all_that_was_fed() -> None:
    told: list[Found] = []
    data = b"A_TOKEN=first-s3cret\n" + b"plain\n" * 30_000 + b"B_TOKEN=second-s3cret\n"
    stream = Stream(policy(), told.append)
    for at in range(0, len(data), 1000):
        stream.feed(data[at : at + 1000])
    stream.close()

    assert [data[one.start : one.end] for one in told] == [b"first-s3cret", b"second-s3cret"]
    assert {one.rule for one in told} == {"secret-variable"}
