"""A secret that was set in the session is known when it is printed."""

from __future__ import annotations

from devtrace.policy.chain import Policy


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
