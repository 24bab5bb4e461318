"""The quick look says no only where the chain finds nothing, and seldom says yes to what holds no secret.

Lives here: both, over every rule there is. What the rules find is tested beside them.
"""

from __future__ import annotations

import base64
import json
import random
import re
import string
import urllib.parse
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from benchmarks import benign, corpus
from devtrace.policy import commands, names, places, secrets, tokens
from devtrace.policy.chain import WITHHELD, Policy
from devtrace.policy.known import Known, known_values
from devtrace.policy.quick import LONGEST, open_end, quick_look, redact_quickly
from devtrace.policy.reasons import RULE_REASONS
from tests.policy import (
    test_commands,
    test_escapes,
    test_fields,
    test_known,
    test_places,
    test_secrets,
    test_tokens,
    test_words,
)
from tests.policy.conftest import SALT
from tests.policy.patterns import text_of

FIXED = 20_261_121
SEEDS = [FIXED, random.SystemRandom().randrange(1 << 32)]
VALUES = {
    "API_TOKEN": "tr0ub4dor-and-3",
    "DB_PASSWORD": "correct horse/ü",
    "PGPASSWORD": "ümläut€",
    "SOME_SECRET": "a'b\"c\\d&e",
    "LONG_TOKEN": "line one\nline two",
    "ADMIN_PASSWORD": "swordfish",
}
PUBLISHED = (
    test_commands,
    test_escapes,
    test_fields,
    test_known,
    test_places,
    test_secrets,
    test_tokens,
    test_words,
)
VALUE = "s3cr3t-Zx81"

a_fixed_seed = pytest.mark.parametrize("nth", [0], ids=["a fixed seed"])
a_new_seed = pytest.mark.parametrize("nth", [1], ids=["a seed of this run"])


class Watched:
    """A policy and its quick look, which is asked first; `found`: how often the chain found something."""

    def __init__(self, policy: Policy, seed: object = FIXED):
        self.policy, self.seed, self.found = policy, seed, 0
        self._look = quick_look(policy)

    def judges(self, text: str) -> bool:
        """Whether the chain finds something; fails if the quick look would have passed it over."""
        may_hold = self._look(text)
        is_found = self.policy.redact_text(text) != text
        assert may_hold or not is_found, (self.seed, text)
        self.found += is_found
        return is_found


def watched(seed: object = FIXED, **environment: str) -> Watched:
    """A policy that learns nothing: what it learned from one text would hide that the next is passed over."""
    known = known_values(environment)
    return Watched(Policy((*secrets.RULES, known), SALT, known), seed)


# --- every rule ---


@a_fixed_seed
@pytest.mark.parametrize("number", range(len(list(tokens.forms()))))
def test_no_form_of_a_credential_is_passed_over(number: int, nth: int) -> None:
    rule, form = list(tokens.forms())[number]
    chance = random.Random(SEEDS[nth] + number)
    sees = watched((SEEDS[nth], rule, form))
    for _ in range(6):
        secret = text_of(form, chance)
        for text in (
            secret,
            f"x {secret} y",
            f"/{secret}/",
            f"\\n{secret}",
            f"a%3D{secret}&",
            f"é {secret}.",
        ):
            sees.judges(text)

    assert sees.found > 0, (SEEDS[nth], rule, form)


@a_fixed_seed
def test_no_option_of_a_command_is_passed_over(nth: int) -> None:
    chance = random.Random(SEEDS[nth])
    unseen = []
    for command, needs, option in commands.options():
        sees = watched((SEEDS[nth], command, option))
        for text in given(command.decode(), needs.decode(), option, chance):
            sees.judges(text)
        if not sees.found:
            unseen.append((command, option))

    assert unseen == [], SEEDS[nth]


def given(command: str, needs: str, option: bytes, chance: random.Random) -> Iterator[str]:
    """The command with that option and a value, as a line and as a list of arguments."""
    for need in needs.split() or [""]:
        for _ in range(6):
            told = text_of(option, chance)
            for value in (
                VALUE,
                f"ana:{VALUE}",
                f"ana%{VALUE}",
                f"ana,{VALUE}",
                f"'{VALUE} x'",
                f"{VALUE}@db",
            ):
                yield f"{command} {need} {told}{value}"
                yield f"{command} {told}{value}"
                yield f"sudo {command} {need} api_token {told}{value}"
                yield json.dumps([command, need, *f"{told}{value}".split()])
        for name in ("api_token", "//r.example.org/:_authToken", "db_password/x"):
            yield f"{command} {need} {name} {VALUE}"


@a_fixed_seed
def test_no_place_in_a_file_is_passed_over(nth: int) -> None:
    chance = random.Random(SEEDS[nth])
    unseen = []
    for pattern in places.patterns():
        sees = watched((SEEDS[nth], pattern))
        for _ in range(1000):
            if sees.found >= 20:
                break
            text = text_of(pattern, chance)
            for before in ("", "x=1; ", "\n", "127.0.0.1> ", "root:"):
                sees.judges(before + text)
                sees.judges(before + text.title())
        if not sees.found:
            unseen.append(pattern)

    assert unseen == [], SEEDS[nth]


@a_fixed_seed
def test_no_name_of_a_secret_is_passed_over(nth: int) -> None:
    chance = random.Random(SEEDS[nth])
    signs = (
        "=",
        ": ",
        '": "',
        "' => '",
        "', '",
        " = '",
        "> ",
        ":\n  ",
        '", "value": "',
        "\nvalue: ",
        "'] = '",
    )
    for _ in range(80):
        name = text_of(names.telling_words(), chance)
        sees = watched((SEEDS[nth], name))
        for written in (name, name.upper(), f"x_{name}", name.title(), f"db.{name}_2"):
            for sign in signs:
                for before in ("", '{"', "'", "- name: ", "<", "config['"):
                    sees.judges(f"{before}{written}{sign}{VALUE}9")
            for line in (f"--{written} {VALUE}", f"set -x {written} {VALUE}", f"ENV {written} {VALUE}"):
                sees.judges(line)
                sees.judges(f"x {line}\n")
                sees.judges(f"- {line.replace(' ', chr(10) + '- ')}")

        assert sees.found > 0, (SEEDS[nth], name)


@pytest.mark.parametrize(
    "text",
    [
        f"curl https://example.org/a-bsid={VALUE}0123456789",
        f"ana:{VALUE}@tcp(db)/shop",
        f"ana:{VALUE}@unix(/run/db)/shop",
        'expect "PIN:"\nsend "271828"',
        f"echo {VALUE} | cryptsetup open a b",
        f"kinit ana <<< {VALUE}",
        f"/?pwd={VALUE}",
        f"a&pw={VALUE}",
        f"a; PWD={VALUE}",
        f"AU\\e[0mTH {VALUE}",
        f"A\x1b[0mUTH {VALUE}",
        f"ENV gh_pat {VALUE}",
        f'"auth": "{base64.b64encode(b"ana:x1y2z3").decode()}"',
        f"identified by '{VALUE}'",
        f"IDENTIFIED BY '{VALUE}'",
        f"Identified\x0bBy '{VALUE}'",
        f"net user ana {VALUE}",
        f"masterauth {VALUE}",
        f"rman target/{VALUE}@db",
        f"rman a/{VALUE}@db",
        "7z -pq",
        "://:b@",
        test_secrets.pem(),
        test_secrets.pem(end=False),
        "\n".join(test_secrets.pem().splitlines()[2:]),
        base64.b64encode(test_secrets.pem().encode()).decode(),
    ],
)
def test_a_sign_that_stands_alone_is_enough(text: str) -> None:
    assert watched().judges(text), text


def test_every_rule_has_been_seen_to_find_something() -> None:
    sees = watched(**VALUES)
    for text in (*published(), *(sample.text.decode() for sample in corpus.samples(FIXED))):
        sees.judges(text)
    for _, before, form in test_tokens.SAMPLES:
        sees.judges(before + test_tokens.made(form, random.Random(FIXED)))

    assert (RULE_REASONS.keys() | tokens.RULE_IDS) - sees.policy.counts.keys() <= {"cut-value"}
    assert {step.__name__ for step in secrets.RULES} == {
        "by_words",
        "private_keys",
        "url_passwords",
        "secret_assignments",
    }, "a new step needs its signs in quick.py, and its examples here"


# --- what is published, made, changed and thrown together ---


def published() -> Iterator[str]:
    """What the tests of the rules are made for: each text, and the pieces of one put together."""
    for module in PUBLISHED:
        for arguments in parameters(module):
            texts = [text for text in arguments if isinstance(text, str)]
            yield from texts
            yield "".join(texts)
            if texts:
                yield f"{texts[0]}{VALUE}{''.join(texts[1:])}"


def parameters(module: ModuleType) -> Iterator[tuple[object, ...]]:
    for test in vars(module).values():
        for mark in getattr(test, "pytestmark", ()):
            if mark.name == "parametrize":
                for row in mark.args[1]:
                    yield row if isinstance(row, tuple) else (row,)


def test_what_the_tests_of_the_rules_are_made_for_is_not_passed_over() -> None:
    sees, knowing = watched(), watched(**VALUES)
    for text in published():
        sees.judges(text[: 2 * LONGEST])
        knowing.judges(text[: 2 * LONGEST])

    assert sees.found >= 300


@a_fixed_seed
def test_what_the_corpus_holds_is_not_passed_over_however_it_is_written(nth: int) -> None:
    chance = random.Random(SEEDS[nth])
    sees = watched(SEEDS[nth], **VALUES)
    for sample in corpus.samples(SEEDS[nth]):
        text = sample.text.decode()
        sees.judges(text)
        for change in CHANGES:
            sees.judges(change(text, chance))

    assert sees.found >= 1000, SEEDS[nth]


def coloured(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text) + 1)
    return f"\x1b[1m{text[:at]}{chance.choice([chr(27), chr(92) + '033', chr(92) + 'e'])}[32m{text[at:]}"


def cut(text: str, chance: random.Random) -> str:
    start, end = sorted(chance.sample(range(len(text) + 1), 2))
    return text[start:end]


def joined(text: str, chance: random.Random) -> str:
    sign = chance.choice([" ", "", "/", "_", ",", "\t", "é", "\x0b", '"', "\n"])
    return sign.join(["some", text, chance.choice(["words", "1", "key", "set"])])


CHANGES: list[Callable[[str, random.Random], str]] = [
    coloured,
    cut,
    joined,
    lambda text, _: text.upper(),
    lambda text, _: text.lower(),
    lambda text, _: text.strip(),
    lambda text, _: json.dumps({"text": text}),
    lambda text, _: json.dumps(json.dumps([text])),
    lambda text, _: urllib.parse.quote(text, safe=""),
    lambda text, _: repr(text),
    lambda text, _: base64.b64encode(text.encode()).decode(),
    lambda text, _: f"'{text}'",
    lambda text, chance: text.replace(" ", chance.choice(["\t", "  ", "\u00a0", " \\\n"])),
]


@a_new_seed
def test_random_texts_are_not_passed_over(nth: int) -> None:
    chance = random.Random(SEEDS[nth])
    sees = watched(SEEDS[nth], **VALUES)
    pieces = thrown(chance)
    for _ in range(50_000):
        sees.judges("".join(chance.choices(pieces, k=chance.randrange(1, 9))))

    assert sees.found >= 500, SEEDS[nth]


def thrown(chance: random.Random) -> list[str]:
    """Words, signs, names, options, pieces of credentials: what a text that holds a secret is made of."""
    stems = [text_of(names.telling_words(), chance) for _ in range(40)]
    told = [
        part
        for command, needs, _ in commands.options()
        for part in f"{command.decode()} {needs.decode()}".split()
    ]
    signs = [
        *string.punctuation,
        *" \t\n=:\"'",
        "://",
        "<<<",
        " -",
        " --",
        "-p",
        "-u ",
        "/p:",
        " | ",
        "\x1b[1m",
        "\\n",
    ]
    given = [
        VALUE,
        "hunter2",
        "ana:pw1x9",
        "ana@example.org",
        "x",
        "é",
        "17",
        "login",
        "password ",
        "AUTH ",
        "echo ",
    ]
    forms = [text_of(form, chance) for _, form in tokens.forms()]
    words = [word.decode() for word in places.words()]
    return [
        *stems,
        *stems,
        *chance.sample(told, 60),
        *signs * 4,
        *given * 6,
        *chance.sample(forms, 20),
        *words,
    ]


# --- known values ---


@pytest.mark.parametrize("value", VALUES.values())
def test_a_known_value_is_seen_however_it_is_written(value: str) -> None:
    sees = watched(TOKEN=value)
    forms = [
        value,
        urllib.parse.quote(value, safe=""),
        json.dumps(value)[1:-1],
        value.replace("\n", "\r\n"),
        *(base64.b64encode(b"x" * pad + value.encode()).decode() for pad in range(3)),
        base64.urlsafe_b64encode(value.encode()).decode(),
    ]
    for form in forms:
        for text in (form, f"x{form}y", f"say {form}!", f"é{form}", f"{'long words ' * 40}{form}"):
            assert sees.judges(text), text


def test_a_value_that_is_learned_later_is_seen_from_then_on(policy: Policy) -> None:
    look = quick_look(policy)
    assert not look("here is tr0ub4dor-and-3x")

    policy.redact_text("API_TOKEN=tr0ub4dor-and-3x")

    assert look("here is tr0ub4dor-and-3x")
    assert redact_quickly(policy)("so tr0ub4dor-and-3x it is").startswith("so [redacted:known-value:")


@a_new_seed
def test_random_values_are_seen_in_random_texts(nth: int) -> None:
    chance = random.Random(SEEDS[nth])
    for _ in range(60):
        values = [chance.randbytes(chance.randrange(6, 20)) for _ in range(3)]
        values += [
            "".join(chance.choices(string.printable, k=chance.randrange(6, 20))).encode() for _ in range(6)
        ]
        known = Known(values)
        for value in values:
            for text in (value, b"a" + value + b"b", b"so " + value, value[:-1], value[1:]):
                is_there = next(iter(known(text, 0)), None) is not None

                assert known.may_stand_in(text.decode("latin-1")) >= is_there, (SEEDS[nth], value)


# --- what is asked at all ---


@pytest.mark.parametrize("text", ["", "x" * (LONGEST + 1), "\ud800", "é" * 2000, "\udcff token=\udcfe1234"])
def test_odd_texts_are_redacted_as_the_chain_would(policy: Policy, text: str) -> None:
    assert redact_quickly(policy)(text) == policy.redact_text(text)


def test_what_a_rule_fails_on_is_withheld(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    redact = redact_quickly(policy)

    def fail(*_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(places, "signed_secrets", fail)

    assert redact("some token = 1") == WITHHELD


def test_with_a_rule_of_the_users_own_every_text_goes_to_the_chain() -> None:
    policy = Policy.for_session({}, SALT, {"own": r"\d"})

    assert quick_look(policy)("line 1")
    assert redact_quickly(policy)("line 1").startswith("line [redacted:own:")


def test_what_the_user_allows_changes_nothing(policy: Policy) -> None:
    allowing = Policy.for_session({}, SALT, {}, {"mine": "x"})

    assert not quick_look(allowing)("line 1")


def test_the_very_text_comes_back_where_there_is_nothing(policy: Policy) -> None:
    text = "a text that holds nothing, " * 3

    assert redact_quickly(policy)(text) is text


ORDINARY = [
    "GET", "alice", "line 123", "2026-11-21", "2026-11-21T10:00:00+00:00", "3.14159", "-17", "0x7fff", "None",
    "utf-8", "application/json", "text/html; charset=utf-8", "/usr/lib/python3.11/site-packages/foo.py",
    "C:\\Users\\ana\\file.txt", "src/main.py:42", "test_a_discount_is_a_percentage", "getElementById",
    "01a1fdf6-2c3d-4e5f-8a9b-0c1d2e3f4a5b", "9bde05d04b825dc642cb6eb9a060e54bf8d69288", "ana@example.org",
    "https://example.org/a/b?page=2&sort=name", "The quick brown fox jumps over the lazy dog.",
    "Grüße aus Köln, bis morgen", "日本語のテキスト", '{"name": "alice", "age": 5, "tags": ["a", "b"]}',
    "INFO 2026-11-21 12:00:00 user alice logged in from 10.0.0.1 in 5ms", "key", "token", "password",
    "the key of the order is missing", "SELECT name, price FROM orders WHERE id = 17", "--verbose", "a | b",
    "monkey=banana", "max_tokens", "Content-Type", "key: value", "x = y + z * (a - b)", "[1, 2, 3]", "\n\t ",
]  # fmt: skip


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_values_are_not_sent_to_the_chain(policy: Policy, text: str) -> None:
    assert not quick_look(policy)(text)


@a_fixed_seed
def test_few_lines_of_what_holds_no_secret_are_sent_to_the_chain(nth: int) -> None:
    look = quick_look(Policy.for_session(VALUES, SALT))
    lines = [
        line
        for make in benign.KINDS.values()
        for line in benign.text_of(make, 8192, SEEDS[nth]).splitlines()
        if 5 <= len(line) <= 200
    ]

    assert sum(map(look, lines)) <= len(lines) // 20, SEEDS[nth]


# --- what could become a secret ---


@pytest.mark.parametrize("nth", [0, 1], ids=["a fixed seed", "a seed of this run"])
def test_of_a_credential_that_is_cut_in_two_nothing_telling_is_let_go(nth: int) -> None:
    chance = random.Random(SEEDS[nth])
    held = open_end(Policy(secrets.RULES, SALT))
    begins = [
        re.compile(pattern, re.ASCII) for pattern in (*tokens.beginnings(), *map(re.escape, tokens.middles()))
    ]
    for rule, form in tokens.forms():
        secret = text_of(form, chance)
        prefixes = [found.end() for found in (each.match(secret.encode()) for each in begins) if found]
        for before in ("", "say ", 'a="', "é\n"):
            for cut in chance.sample(range(1, len(secret)), min(9, len(secret) - 1)):
                text = before + secret[:cut]
                let_go = len(text) - held(text) - len(before)
                is_telling = cut >= max(4, min(prefixes, default=len(secret)))

                assert let_go <= (0 if is_telling else 15), (SEEDS[nth], rule, text)


@pytest.mark.parametrize("sign", [".", "=", "~~"])
def test_a_sign_before_a_word_is_a_part_of_it(sign: str) -> None:
    held = open_end(Policy(secrets.RULES, SALT))
    word = sign + "3rQp8Lk2Zx7Vn4Tb6"[: 16 - len(sign)]

    assert held(f"say {word}") == len(word)
    assert held(f"say {word[:-1]}") == 0
    assert held("say " + sign * 40) == 0


@pytest.mark.parametrize("value", VALUES.values())
def test_of_a_known_value_that_is_cut_in_two_nothing_telling_is_let_go(value: str) -> None:
    held = open_end(Policy.for_session({"TOKEN": value}, SALT))
    for form in (value, urllib.parse.quote(value, safe=""), json.dumps(value)[1:-1]):
        size = len(form.encode())
        for before in ("", "say ", "x", "é", "a=" * 40):
            for cut in range(4, size):
                text = (before.encode() + form.encode()[:cut]).decode("utf-8", "surrogateescape")
                kept = text[: len(text) - held(text)].encode("utf-8", "surrogateescape")

                assert len(kept) <= len(before.encode()), (form, text)


def test_a_value_that_is_learned_is_held_from_then_on(policy: Policy) -> None:
    held = open_end(policy)
    assert held("here is tr0ub4") == 0

    policy.redact_text("API_TOKEN=tr0ub4dor-and-3x")

    assert held("here is tr0ub4") == len("tr0ub4")


@a_fixed_seed
def test_the_ends_of_ordinary_lines_are_let_go(nth: int) -> None:
    held = open_end(Policy.for_session(VALUES, SALT))
    lines = [
        line[: len(line) // 2]
        for make in benign.KINDS.values()
        for line in benign.text_of(make, 8192, SEEDS[nth]).splitlines()
    ]

    assert [
        text
        for text in ("", "50% done", "a word ", "Loading...", "ok: ", ">>> ", "." * 40, "[####")
        if held(text)
    ] == []
    assert sum(1 for line in lines if held(line)) <= len(lines) // 3, SEEDS[nth]
