"""Ids: sessions that sort by time, spans that a shell can compute and a person can shorten."""

from __future__ import annotations

import time
import uuid

from devtrace import ids


def test_a_session_id_is_a_uuid_of_version_7_and_a_trace_id() -> None:
    session = ids.new_session_id()

    assert ids.is_session_id(session)
    assert uuid.UUID(session).version == 7
    assert uuid.UUID(session).variant == uuid.RFC_4122


def test_a_session_id_tells_the_millisecond_it_was_made() -> None:
    before = time.time_ns() // 1_000_000
    session = ids.new_session_id()
    after = time.time_ns() // 1_000_000

    assert before <= int(session[:12], 16) <= after


def test_session_ids_of_one_millisecond_differ() -> None:
    assert len({ids.new_session_id() for _ in range(1000)}) == 1000


def test_a_span_id_is_16_hex_digits() -> None:
    spans = {ids.new_span_id() for _ in range(1000)}

    assert len(spans) == 1000
    assert all(map(ids.is_span_id, spans))


def test_no_span_id_is_all_zeros() -> None:
    assert not ids.is_span_id("0" * 16)


def test_what_is_too_short_or_no_hex_is_no_id() -> None:
    assert not any(map(ids.is_span_id, ("", "12ab", "X" * 16, "A" * 16, "1" * 17, "1" * 16 + "\n")))
    assert not any(map(ids.is_session_id, ("", "12ab", "X" * 32, "1" * 33, "1" * 32 + "\n")))


def test_the_walk_of_a_shell_stays_within_16_decimal_digits() -> None:
    span = ids.new_shell_span()
    for _ in range(10_000):
        span = ids.next_shell_span(span)
        assert len(str(span)) == 16


def test_the_walk_is_the_arithmetic_of_the_hooks() -> None:
    span = 9_999_999_999_999_999

    step = (span - 1000000000000000 + 5562305898749053) % 9000000000000000 + 1000000000000000
    assert ids.next_shell_span(span) == step
    assert span + ids.SPAN_STEP < 2**63  # what a shell's arithmetic holds


def test_the_walk_meets_every_number_before_it_repeats_one() -> None:
    from math import gcd

    assert gcd(ids.SPAN_STEP, ids.SPAN_COUNT) == 1


def test_five_digits_name_one_of_a_thousand_commands_of_a_shell_in_most_cases() -> None:
    span, seen = ids.SPAN_FIRST, []
    for _ in range(1000):
        span = ids.next_shell_span(span)
        seen.append(str(span)[:5])

    assert len(set(seen)) == 1000


def test_nonces_differ() -> None:
    assert len({ids.new_nonce() for _ in range(100)}) == 100
