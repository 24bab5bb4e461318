"""Numbers are said as people say them."""

from __future__ import annotations

import pytest

from devtrace.views import words


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (-5_000_000, "<1ms"),
        (0, "<1ms"),
        (999, "<1ms"),
        (1_000, "1ms"),
        (120_400, "120ms"),
        (999_499, "999ms"),
        (999_500, "1.0s"),
        (1_234_000, "1.2s"),
        (59_949_999, "59.9s"),
        (59_950_000, "1m00s"),
        (184_000_000, "3m04s"),
        (3_599_400_000, "59m59s"),
        (3_600_000_000, "1h00m"),
        (7_530_000_000, "2h06m"),
        (86_399_000_000, "1d00h"),
        (86_400_000_000, "1d00h"),
        (273_600_000_000, "3d04h"),
    ],
)
def test_durations(microseconds, text):
    assert words.duration(microseconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"), (512, "512 B"), (999, "999 B"), (1_000, "1.0 KB"), (1_024, "1.0 KB"), (12_800, "12 KB"),
        (10_189, "10 KB"), (1_023_000, "999 KB"), (1_023_999, "1.0 MB"), (1_500_000, "1.4 MB"),
        (5 << 40, "5.0 TB"),
        (5 << 50, "5120 TB"),
    ],
)  # fmt: skip
def test_sizes(number, text):
    assert words.size(number) == text


def test_counts_have_their_plural_and_thousands():
    assert words.count(1, "command") == "1 command"
    assert words.count(0, "command") == "0 commands"
    assert words.count(1204, "entry", "entries") == "1,204 entries"


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/home/ana/api", "."),
        ("/home/ana/api/src/x", "src/x"),
        ("/home/ana/apicorn", "~/apicorn"),
        ("/home/ana", "~"),
        ("/etc", "/etc"),
        ("/", "/"),
    ],
)
def test_places_are_named_from_where_the_reader_stands(path, shown):
    assert words.place(path, "/home/ana/api", "/home/ana") == shown


def test_a_repository_or_home_at_the_root_shortens_nothing():
    assert words.place("/etc/x", "/", "/") == "/etc/x"


def test_moments_are_local_and_whole():
    assert words.clock(1_795_269_792_345_678) == "14:03:12"
    assert words.day(1_795_269_792_345_678) == "Sat 21 Nov 2026"
    assert words.moment(1_795_269_792_345_678) == "2026-11-21 14:03:12.345678 +0000"
