"""A look tells what can be said, and keeps the rest for the next one; halves of a rename stay together."""

from __future__ import annotations

import time

import pytest

from devtrace.services.edits import judging
from devtrace.services.edits.attribution import Window
from devtrace.services.edits.checkpoint import Found
from devtrace.services.edits.judging import Hints, Judge
from devtrace.sources.worktree import PLAIN, File
from devtrace.store.checkpoints.tree import Entry
from devtrace.workspace import Workspace

ENTRY = Entry(PLAIN, "e" * 40)
NOW_US = time.time_ns() // 1000


@pytest.fixture
def judge(tmp_path):
    """Of a session in which one command ran, from 1 s to 0.2 s ago; all is heard up to now."""
    judge = Judge(Workspace(tmp_path / ".devtrace"), tmp_path, "s", NOW_US - 2_000_000)
    judge.heard(Window("s", "mv", None, NOW_US - 1_000_000, NOW_US - 200_000, "human"))
    judge.heard_us = NOW_US
    return judge


def came(path, changed_us):
    file = File(PLAIN, b"", changed_ns=changed_us * 1000)
    return Found(path, None, ENTRY, file, None, changed_us)


def gone(path, changed_us):
    return Found(path, ENTRY, None, None, None, changed_us)


def judged(judge, found, hints, now_us=NOW_US, *, is_last=False):
    """The paths that are told, each set of them that is told as one, and those that wait."""
    groups, waiting = judge.judge(
        found, lambda path: Hints(hints.get(path, [])), NOW_US - 2_000_000, now_us, is_last=is_last
    )
    return [{one.path for one, _ in members} for members in groups.values()], waiting


def test_what_is_known_is_told_under_its_command(judge):
    at = NOW_US - 500_000

    groups, waiting = judge.judge([came(b"new", at)], lambda _: Hints(), at - 100, NOW_US, is_last=False)

    assert [verdict.window.event for verdict in groups] == ["mv"]
    assert waiting == set()


@pytest.mark.parametrize("heard_after_us", [100, 300])
def test_a_rename_waits_for_its_other_half(judge, heard_after_us):
    at = NOW_US - 500_000
    found = [gone(b"a/b", at), came(b"z/b", at - 900_000)]
    hints = {b"a/b": [(at - 50, at + 50)], b"z/b": [(at - 50, at + 200)]}  # a folder is looked into later
    judge.heard_us = at + heard_after_us

    told, waiting = judged(judge, found, hints)

    assert (told, waiting) == (
        ([], {b"a/b", b"z/b"}) if heard_after_us == 100 else ([{b"a/b", b"z/b"}], set())
    )


def test_the_other_half_may_come_first(judge):
    at = NOW_US - 500_000
    found = [gone(b"a/b", at), came(b"z/b", at - 900_000)]
    hints = {b"a/b": [(at - 50, at + 200)], b"z/b": [(at - 50, at + 50)]}
    judge.heard_us = at + 100

    assert judged(judge, found, hints) == ([], {b"a/b", b"z/b"})


def test_what_was_not_at_once_waits_for_nobody(judge):
    early, late = NOW_US - 900_000, NOW_US - 300_000
    found = [gone(b"old", early), came(b"new", late), came(b"other", early)]
    hints = {b"old": [(early - 50, early + 50)], b"new": [(late - 50, late + 50)]}
    judge.heard_us = early + 50_000

    assert judged(judge, found, hints) == ([{b"old", b"other"}], {b"new"})


def test_nothing_is_told_of_what_changed_while_it_was_looked_for(judge):
    """The walk that saw it gone may have been where it is now before it came there."""
    now_us = NOW_US - 500_000

    assert judged(judge, [gone(b"a", now_us + 10)], {}, now_us) == ([], {b"a"})
    assert judged(judge, [gone(b"a", now_us + 10)], {}, NOW_US) == ([{b"a"}], set())


def test_what_was_not_read_yet_waits(judge):
    unheard = came(b"new", NOW_US - 500_000)._replace(after=None, kept=None, is_unheard=True)

    assert judged(judge, [unheard], {}) == ([], {b"new"})
    assert judged(judge, [unheard, gone(b"old", NOW_US - 500_000)], {}) == ([], {b"new", b"old"})


def test_a_place_that_may_still_be_told_is_waited_for_and_not_for_long(judge):
    late, early = NOW_US - 300_000, NOW_US - 700_000

    def of(moment_us, *, is_last=False):
        hints = Hints([(moment_us, moment_us)], may_be_placed=True)
        found = [came(b"new", moment_us)]
        return judge.judge(found, lambda _: hints, early - 100, NOW_US, is_last=is_last)[1]

    assert of(late) == {b"new"}
    assert of(late, is_last=True) == set()
    assert of(early) == set()


def test_a_shell_without_a_clock_gets_slack_only_where_times_must_do(judge):
    """It is told when its record was read; that comes after what the record speaks of."""
    at = NOW_US - 900_000
    second = Window("s", "second", None, at + 1_000, at + 9_000, "human", slack_us=30_000)
    judge.heard(Window("s", "mv", None, at - 9_000, at, "human", slack_us=30_000))
    judge.heard(second)
    found = [came(b"new", at - 5_000)]

    def verdicts(moment, *, placed):
        groups, _ = judge.judge(found, lambda _: Hints([moment], placed), at, NOW_US, is_last=False)
        return [(verdict.attribution, verdict.window and verdict.window.event) for verdict in groups]

    assert verdicts((at - 1_000, at - 1_000), placed=False) == [("ambiguous", None)]
    assert verdicts((at - 1_000, at - 1_000), placed=True) == [("command", "mv")]
    assert verdicts((at + 2_000, at + 2_000), placed=True) == [("command", "second")]


def test_another_session_is_waited_for_while_it_speaks(judge, monkeypatch):
    said = {"other": NOW_US - 100}
    now = [1_000.0]
    monkeypatch.setattr(judging.others, "heard", lambda *_: said)
    monkeypatch.setattr(judging.time, "monotonic", lambda: now[0])

    assert judge.known_us(is_last=False) == NOW_US - 100
    assert judge.known_us(is_last=True) == NOW_US - 100
    now[0] += judging.FOREIGN_S + 1
    assert judge.known_us(is_last=False) == NOW_US
    assert judge.known_us(is_last=True) is None
    said["other"] += 50
    assert judge.known_us(is_last=False) == NOW_US - 50


def test_the_last_look_tells_all(judge):
    judge.heard_us = 0
    found = [gone(b"a", NOW_US), came(b"z", NOW_US)]
    hints = {b"a": [(NOW_US - 50, NOW_US)]}

    assert judged(judge, found, hints, is_last=False) == ([], {b"a", b"z"})
    assert judged(judge, found, hints, is_last=True) == ([{b"a", b"z"}], set())


def test_thousands_that_come_and_go_are_compared_once(judge, monkeypatch):
    calls = []
    meets = judging._meets
    monkeypatch.setattr(judging, "_meets", lambda *args: calls.append(len(args[1])) or meets(*args))
    found = [gone(b"a%d" % n, NOW_US - n) for n in range(3_000)]
    found += [came(b"z%d" % n, NOW_US - n) for n in range(3_000)]
    judge.heard_us = NOW_US - 3_000_000

    told, waiting = judged(judge, found, {})

    assert (told, len(waiting), len(calls), max(calls)) == ([], 6_000, 6_000, 1)
