"""A user's own rules mask what he calls a secret, and spare what he says is none."""

from __future__ import annotations

import pytest

from devtrace.policy.chain import Policy

SALT = b"salt" * 8


def policy(
    rules: dict[str, str] | None = None, allow: dict[str, str] | None = None, **environ: str
) -> Policy:
    return Policy.for_session(environ, SALT, rules, allow)


def test_what_a_rule_matches_is_masked_under_its_name() -> None:
    own = policy({"ticket": "ACME-[0-9]{6}"})

    masked = own.redact_text("see ACME-123456, and ACME-12")

    assert masked.startswith("see [redacted:ticket:")
    assert masked.endswith("], and ACME-12")


def test_only_the_first_group_is_masked_where_there_is_one() -> None:
    masked = policy({"badge": "^badge ([0-9]+)$"}).redact_text("a\nbadge 4711\nbadge x")

    assert masked.startswith("a\nbadge [redacted:badge:")
    assert masked.endswith("]\nbadge x")


def test_a_secret_in_colours_is_found_by_a_users_rule_too() -> None:
    masked = policy({"ticket": "ACME-[0-9]{6}"}).redact_bytes(b"\x1b[31mACME-\x1b[1m123456\x1b[0m")

    assert b"ACME" not in masked
    assert b"123456" not in masked


@pytest.mark.parametrize(
    "text", ["TEST_TOKEN=abc123def456ghi", "postgres://u:abc123def456ghi@db", "say abc123def456ghi"]
)
def test_what_is_allowed_is_kept_whichever_rule_found_it(text: str) -> None:
    allowing = policy(None, {"fixture": "abc123[a-z0-9]+"}, MY_TOKEN="abc123def456ghi")

    assert allowing.redact_text(text) == text
    assert "abc123" not in policy(MY_TOKEN="abc123def456ghi").redact_text(text)


def test_an_exception_must_fit_the_whole_secret() -> None:
    allowing = policy(None, {"fixture": "abc123"})

    assert "abc123def" not in allowing.redact_text("A_TOKEN=abc123def456ghi")


def test_a_rule_that_cannot_be_used_costs_only_itself() -> None:
    own = policy({"broken": "(", "empty": "", "everywhere": "x*", "ticket": "ACME-[0-9]{6}"})

    assert own.redact_text("x ACME-123456").startswith("x [redacted:ticket:")


def test_redacting_twice_changes_nothing() -> None:
    own = policy({"wide": "[a-z0-9]{6,}", "ticket": "ACME-[0-9]{6}"})
    once = own.redact_text("ACME-123456 and abcdef1 https://u:passw0rd@h/")

    assert own.redact_text(once) == once


def test_what_is_found_is_told_with_its_place_and_its_tag() -> None:
    own = policy({"ticket": "ACME-[0-9]{6}"})
    data = b"a \x1b[1mACME-123456\x1b[0m"

    (found,) = own.find(data)

    assert (data[found.start : found.end], found.rule) == (b"ACME-123456", "ticket")
    assert found.tag == own.tag(b"ACME-123456")


def test_of_alternatives_the_group_that_matched_is_masked() -> None:
    masked = policy({"opt": r"id=(\w+)|uid=(\w+)"}).redact_text("uid=abcdef99 and id=zzzz99")

    assert "abcdef99" not in masked
    assert "zzzz99" not in masked
    assert masked.startswith("uid=[redacted:opt:")
