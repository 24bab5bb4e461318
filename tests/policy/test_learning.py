"""A secret that was set in the session is known when it is printed."""

from __future__ import annotations

import base64

import pytest

from devtrace.policy.chain import Policy
from devtrace.policy.known import MOST_LEARNED
from tests.policy.conftest import SALT


def test_a_variable_that_was_set_in_the_session_is_masked_when_it_is_printed() -> None:
    policy = Policy.for_session({}, b"salt")

    said = policy.redact_text("export MY_TOKEN=hunter2supersecret")
    printed = policy.redact_bytes(b"the token is hunter2supersecret\n")

    assert "hunter2supersecret" not in said
    assert b"hunter2supersecret" not in printed
    assert said.split(":")[-1] == printed.decode().strip().split(":")[-1], "equal secrets stay comparable"


def test_the_value_is_masked_elsewhere_in_the_text_that_teaches_it() -> None:
    text = Policy.for_session({}, None).redact_text("MY_TOKEN=hunter2supersecret ./deploy hunter2supersecret")

    assert "hunter2supersecret" not in text


def test_what_is_told_to_be_secret_is_masked() -> None:
    policy = Policy.for_session({}, None)
    policy.learn([b"0123456789abcdef"])

    assert policy.redact_bytes(b"nonce=0123456789abcdef;") == b"nonce=[redacted:known-value];"


def test_a_common_word_is_not_learned() -> None:
    policy = Policy.for_session({}, None)
    policy.redact_text("MY_TOKEN=true")

    assert policy.redact_text("it is true") == "it is true"


@pytest.mark.parametrize(
    "value",
    [
        *("warning", "connection", "configuration", "/home/ana/v1.2", "./run-1.sh", "two words 1", "12345"),
        *("a1", "$OTHER_9", "a" * 19),
    ],
)
def test_what_could_be_a_plain_word_is_not_masked_everywhere(value: str) -> None:
    """A rule that was wrong once must not spoil the record from then on."""
    policy = Policy.for_session({}, None)
    policy.redact_text(f"MY_TOKEN='{value}'")

    assert policy.redact_text(f"a {value} b") == f"a {value} b"


def test_what_an_output_printed_beside_its_name_is_masked_in_a_later_command() -> None:
    policy = Policy.for_session({}, None)
    policy.redact_bytes(b"$ cat .env\r\nAPI_TOKEN=hunter2supersecret\r\n")

    assert policy.redact_text("curl -H 'X: hunter2supersecret'") == "curl -H 'X: [redacted:known-value]'"


def test_a_learned_value_is_found_in_other_clothes_too() -> None:
    policy = Policy.for_session({}, None)
    policy.redact_text("MY_TOKEN=hunter2supersecret")

    for form in (base64.b64encode(b"user:hunter2supersecret").decode(), "hunter2\x1b[1msupersecret"):
        assert "hunter2" not in policy.redact_text(form)
        assert "[redacted:known-value]" in policy.redact_text(form)


def test_the_memory_for_values_is_bounded() -> None:
    policy = Policy.for_session({}, None)
    for number in range(MOST_LEARNED + 50):
        policy.redact_text(f"MY_TOKEN=secret-value-{number:04}")

    masked = [
        n for n in range(MOST_LEARNED + 50) if "redacted" in policy.redact_text(f"it is secret-value-{n:04}")
    ]

    assert masked == list(range(MOST_LEARNED))


def test_many_values_at_once_are_all_learned() -> None:
    policy = Policy.for_session({}, None)
    policy.redact_text("".join(f"TOKEN_{n}=secret-{n:08}\n" for n in range(30)))

    for number in range(30):
        assert "redacted" in policy.redact_text(f"xsecret-{number:08}y")


def test_a_told_value_that_is_too_short_is_left_alone() -> None:
    policy = Policy.for_session({}, None)
    policy.learn([b"", b"ab", b"abcde"])

    assert policy.redact_text("abcde") == "abcde"


def test_a_policy_without_known_values_learns_nothing() -> None:
    policy = Policy([])
    policy.learn([b"0123456789abcdef"])

    assert policy.redact_text("0123456789abcdef") == "0123456789abcdef"


@pytest.mark.parametrize(
    "line",
    [
        "mysql -pt0p-s3cret-9 shop",
        "curl -u ana:t0p-s3cret-9 https://h.example/",
        "Authorization: Bearer t0p-s3cret-9",
        "machine h.example login ana password t0p-s3cret-9",
        "https://ana:t0p-s3cret-9@h.example/",
        "MY_TOKEN=t0p-s3cret-9",
    ],
)
def test_what_stood_in_a_telling_place_is_known_wherever_it_stands_later(policy: Policy, line: str) -> None:
    policy.redact_text(line)

    assert "t0p-s3cret-9" not in policy.redact_text("and then it prints t0p-s3cret-9")


def test_a_users_own_rule_teaches_too() -> None:
    own = Policy.for_session({}, SALT, {"badge": "badge ([a-z0-9-]+)"})
    own.redact_text("badge t0p-s3cret-9")

    assert "t0p-s3cret-9" not in own.redact_text("say t0p-s3cret-9")
