"""What is no secret stays: few false positives on a corpus of what terminals show all day."""

from __future__ import annotations

import hashlib
import json
import random
import uuid
from collections.abc import Callable

import pytest

from devtrace.policy.chain import Policy

SIZE = 100 * 1024  # bytes of each kind
MOST = 3  # false positives in that many bytes
WORD_LIST = """
    the a key token secret password pass auth of and to for access api user monkey keyboard primary cache test
    build file path line error warning value name config server client request response database column index
"""
PAIRED = """
    monkey keyboard primary_key foreign_key cache_key sort_key hotkey turkey key tokens max_tokens token_count
    tokenizer secretary compass bypass first_pass passwordless public_key keystore pad_token_id hash_key
"""
WORDS = WORD_LIST.split()


def git_log(chance: random.Random) -> str:
    digest = hashlib.sha1(chance.randbytes(8)).hexdigest()
    subject = " ".join(chance.choices(WORDS, k=6)).capitalize()
    return f"commit {digest}\nAuthor: Ana <ana{chance.randrange(99)}@example.org>\n\n    {subject}\n\n"


def diff(chance: random.Random) -> str:
    one, two = chance.choice(WORDS), chance.choice(WORDS)
    lines = [
        f"diff --git a/src/{one}.py b/src/{one}.py\nindex {chance.randrange(1 << 28):07x}..0000000 100644",
        f"@@ -{chance.randrange(900)},7 +{chance.randrange(900)},9 @@ def {one}_{two}(token, password=None):",
        f"-    {one} = {two}.{one}({two}={one}, key=lambda item: item.{two})",
        f"+    token = next(tokens) if {one} else self.{two}",
        f"+    parser.add_argument('--{one}', default=os.environ.get('API_TOKEN'), help='the {two}')",
        "+    connect(user=user, password=password, token=token, secret=settings.SECRET_KEY)",
        f" # https://example.org/{one}#{two} by ana@example.org, see http://localhost:8080/@{one}/{two}",
    ]
    return "\n".join(lines) + "\n"


def digests(chance: random.Random) -> str:
    data = chance.randbytes(16)
    return (
        f"{hashlib.sha256(data).hexdigest()}  dist/{chance.choice(WORDS)}-{chance.randrange(99)}.tar.gz\n"
        f"{uuid.UUID(bytes=data)} {uuid.UUID(bytes=data).hex}\n"
        f'    --hash=sha256:{hashlib.sha256(data).hexdigest()} \\\n  "integrity": "sha-{data.hex()}==",\n'
    )


def pairs(chance: random.Random) -> str:
    return (
        " ".join(
            f"{name}={chance.choice(WORDS)}{chance.randrange(999)}"
            for name in chance.sample(PAIRED.split(), 6)
        )
        + "\n"
    )


def json_log(chance: random.Random) -> str:
    record = {
        "ts": f"2026-11-21T04:{chance.randrange(60):02}:{chance.randrange(60):02}.042Z",
        "level": "info",
        "msg": " ".join(chance.choices(WORDS, k=8)),
        "id": str(uuid.UUID(int=chance.getrandbits(128))),
        "usage": {"input_tokens": chance.randrange(9999), "cache_key": f"{chance.getrandbits(64):x}"},
    }
    return json.dumps(record) + "\n"


def run_of_tests(chance: random.Random) -> str:
    status = chance.choice(["\x1b[32mPASSED\x1b[0m", "\x1b[31mFAILED\x1b[0m"])
    return (
        f"tests/test_{chance.choice(WORDS)}.py::test_it[token-{chance.randrange(99)}] {status}"
        f" \x1b[32m[{chance.randrange(100):3}%]\x1b[0m\n"
        f"E   assert token == '{chance.choice(WORDS)}' and response.password != {chance.randrange(99)}\n"
        f"{chance.randrange(99)} passed, {chance.randrange(9)} failed in {chance.random():.2f}s\n"
    )


def help_text(chance: random.Random) -> str:
    option = chance.choice(["token", "password", "api-key", "client-secret", "auth-token"])
    return (
        f"  --{option} {chance.choice(['STRING', 'string', 'TEXT', '<value>', '$VALUE', ''])}"
        f"  {' '.join(chance.choices(WORDS, k=6))}\n"
        f"  Use --{option} to set the {chance.choice(WORDS)}; --{option}-file is better, or set $API_TOKEN.\n"
    )


def prose(chance: random.Random) -> str:
    return " ".join(chance.choices(WORDS, k=12)) + chance.choice([".\n", ",\n", "\n", "? ", ": "])


KINDS: list[Callable[[random.Random], str]] = [
    git_log,
    diff,
    digests,
    pairs,
    json_log,
    run_of_tests,
    help_text,
    prose,
]


@pytest.mark.parametrize("seed", [20_261_121])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_few_words_are_taken_for_secrets(kind: Callable[[random.Random], str], seed: int) -> None:
    chance = random.Random(seed)
    lines: list[str] = []
    size = 0
    while size < SIZE:
        lines.append(kind(chance))
        size += len(lines[-1])
    policy = Policy.for_session(
        {"API_TOKEN": "tr0ub4dor-and-3", "PATH": "/usr/bin", "KEYBOARD": "us"}, b"salt"
    )

    redacted = policy.redact_bytes("".join(lines).encode()).decode()

    found = [line for line in redacted.splitlines() if "[redacted:" in line]
    assert sum(policy.counts.values()) <= MOST, found[:10]
