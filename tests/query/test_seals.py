"""Whole rewrites of the database, and doings to seals.log: what only the file outside of it tells."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from devtrace.ids import new_span_id
from devtrace.query.seals import JUST_NOW_US, Kept, Late
from devtrace.query.verify import DOUBTS, verify
from devtrace.store import anchors, chain
from devtrace.store.append import append
from devtrace.store.connection import open_store
from devtrace.workspace import Workspace, create
from tests.query.test_verify import START_US, events, insert, recorded, relink

DB = sqlite3.Connection
NOW_US = START_US + 10 * JUST_NOW_US


class Place:
    """A store with its seals.log, and a copy of it that nobody reaches."""

    def __init__(self, root: Path):
        self.workspace = Workspace(root / ".devtrace")
        create(self.workspace)
        self.db = open_store(self.workspace, create=True)
        self.copy = anchors.Log([], frozenset())

    def keep_copy(self) -> None:
        anchors.sync(self.db, self.workspace)
        log = anchors.read(self.workspace.seals)
        assert log is not None
        self.copy = log

    def kept(self, *, with_copy: bool = False) -> Kept:
        return Kept(anchors.read(self.workspace.seals), copy=self.copy if with_copy else None)

    def found(self, session: str | None = None, *, with_copy: bool = False) -> set[str]:
        verified = verify(self.db, session, kept=self.kept(with_copy=with_copy), now_us=NOW_US)
        return {finding.what for finding in verified.findings}


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    with closing(made.db):
        yield made


def late_note(db: DB, session: str, at_us: int) -> None:
    frame = {
        "session": session, "id": new_span_id(), "kind": "note", "actor": "human", "started_us": at_us,
        "ended_us": at_us + 3, "status": "ok", "title": "late", "source": "cli", "trusted": 0,
        "data": {"text": "late"},
    }  # fmt: skip
    append(db, [frame], recorded_us=at_us)


# --- whole rewrites: the database agrees with itself afterwards ---------------------------------------------


def reseal(db: DB, session: str) -> None:
    """Put chain, seals and counters of a session right again, as somebody would who knows how."""
    relink(db, session, 0)
    db.execute(
        "UPDATE seals SET seq = (SELECT max(seq) FROM events"
        " WHERE events.session = seals.session AND events.seq <= seals.seq)"
        " WHERE session = ? AND seq IS NOT NULL",
        (session,),
    )
    db.execute(
        "UPDATE seals SET hash = (SELECT hash FROM events WHERE events.seq = seals.seq)"
        " WHERE session = ? AND seq IS NOT NULL",
        (session,),
    )
    db.execute(
        "UPDATE sessions SET n_events = (SELECT count(*) FROM events WHERE session = sessions.id)"
        " WHERE id = ?",
        (session,),
    )


def rewrite_an_event(db: DB, session: str, at: int) -> None:
    db.execute("UPDATE events SET title = 'never typed' WHERE seq = ?", (events(db, session)[at][0],))
    reseal(db, session)


COUNTED = """
    SELECT count(*) FROM outputs JOIN events USING (seq), json_each(data, '$.blobs') AS named
    WHERE json_extract(named.value, '$.sha256') = blobs.sha256
"""


def count_anew(db: DB) -> None:
    """Whoever rewrites the record does not forget the tables beside it."""
    db.execute("DELETE FROM outputs WHERE seq NOT IN (SELECT seq FROM events)")
    db.execute(f"UPDATE blobs SET refs = ({COUNTED})")


def take_an_event_out(db: DB, session: str, at: int) -> None:
    db.execute("DELETE FROM events WHERE seq = ?", (events(db, session)[at][0],))
    count_anew(db)
    reseal(db, session)


def cut_the_tail_off(db: DB, session: str, at: int) -> None:
    keep = events(db, session)[at - 1]
    db.execute("DELETE FROM events WHERE session = ? AND seq > ?", (session, keep[0]))
    count_anew(db)
    reseal(db, session)


def put_an_event_in(db: DB, session: str, at: int) -> None:
    insert(db, session, at)
    count_anew(db)
    reseal(db, session)


def seal_anew(db: DB, session: str, at: int) -> None:
    """The seals themselves are taken away, and new ones with new numbers put in their place."""
    db.execute("UPDATE events SET status = 'failed' WHERE seq = ?", (events(db, session)[at][0],))
    db.execute("DELETE FROM seals WHERE session = ?", (session,))
    relink(db, session, 0)
    chain.seal(db, session, START_US + 50)


def remove_the_session(db: DB, session: str, _: int) -> None:
    for table in ("events", "seals"):
        db.execute(f"DELETE FROM {table} WHERE session = ?", (session,))
    db.execute("DELETE FROM sessions WHERE id = ?", (session,))
    count_anew(db)


def move_the_seal_back(db: DB, session: str, _: int) -> None:
    db.execute("UPDATE seals SET sealed_us = sealed_us - 7 WHERE session = ?", (session,))


REWRITES: list[Callable[[DB, str, int], None]] = [
    rewrite_an_event,
    take_an_event_out,
    cut_the_tail_off,
    put_an_event_in,
    seal_anew,
    remove_the_session,
    move_the_seal_back,
]


def test_an_untouched_store_agrees_with_its_file_and_its_copy(place):
    first = recorded(place.db)
    place.keep_copy()
    recorded(place.db, 0)
    late_note(place.db, first, START_US + 90)
    anchors.sync(place.db, place.workspace)

    verified = verify(place.db, kept=place.kept(with_copy=True), now_us=NOW_US)

    assert (verified.findings, verified.anchored, verified.seals) == ([], 3, 3)


@pytest.mark.parametrize("rewrite", REWRITES, ids=lambda rewrite: rewrite.__name__)
def test_a_whole_rewrite_is_named_by_the_file_alone(place, rewrite):
    others = [recorded(place.db)]
    session = recorded(place.db)
    place.keep_copy()

    rewrite(place.db, session, 4)

    assert {one.what for one in verify(place.db).findings} == set()
    assert place.found() - DOUBTS == {"anchor"}
    assert place.found(with_copy=True) - DOUBTS == {"anchor", "copy"}
    assert [place.found(other, with_copy=True) for other in others] == [set()]
    anchors.sync(place.db, place.workspace)
    assert place.found(session) == {"anchor"}


@pytest.mark.parametrize("rewrite", REWRITES, ids=lambda rewrite: rewrite.__name__)
def test_a_rewrite_of_the_file_too_is_named_by_the_copy(place, rewrite):
    recorded(place.db)
    session = recorded(place.db)
    place.keep_copy()

    rewrite(place.db, session, 4)
    place.workspace.seals.unlink()
    anchors.sync(place.db, place.workspace)

    assert place.found() == set()
    assert place.found(with_copy=True) == {"copy"}


def test_how_many_seals_of_a_session_are_not_theirs_is_counted(place):
    session = recorded(place.db)
    late_note(place.db, session, START_US + 90)
    place.keep_copy()
    rewrite_an_event(place.db, session, 2)

    (finding,) = verify(place.db, kept=place.kept(), now_us=NOW_US).findings

    assert (finding.session, finding.event, finding.what, finding.number) == (session, None, "anchor", 2)


# --- seals.log itself ---------------------------------------------------------------------------------------


def lines(place: Place) -> list[bytes]:
    return place.workspace.seals.read_bytes().splitlines(keepends=True)


def remove_a_line(place, at):
    kept = lines(place)
    place.workspace.seals.write_bytes(b"".join(kept[:at] + kept[at + 1 :]))


def change_a_line(place, at):
    kept = lines(place)
    late = kept[at][-67:-66]  # of the line, its digest and its newline
    kept[at] = kept[at][:-67] + (b"1" if late == b"0" else b"0") + kept[at][-66:]
    place.workspace.seals.write_bytes(b"".join(kept))


def swap_lines(place, at):
    kept = lines(place)
    kept[at], kept[at + 1] = kept[at + 1], kept[at]
    place.workspace.seals.write_bytes(b"".join(kept))


def add_words(place, at):
    kept = lines(place)
    place.workspace.seals.write_bytes(b"".join([*kept[:at], b"hello\n", *kept[at:]]))


def forge_a_line(place, _):
    """A seal that never was, properly linked to the line before it."""
    log = anchors.parse(place.workspace.seals.read_bytes())
    forged = log.seals[-1]._replace(n=log.seals[-1].n + 7)
    last = lines(place)[-1].split()[-1].decode()
    with place.workspace.seals.open("a") as file:
        file.write(anchors.render([forged], last))


def cut_lines_off(place, at):
    place.workspace.seals.write_bytes(b"".join(lines(place)[: at + 1]))


def empty_it(place, _):
    place.workspace.seals.write_bytes(b"")


def tear_it(place, at):
    place.workspace.seals.write_bytes(b"".join(lines(place))[: -20 * (at + 1)])


FILE_DOINGS: dict[Callable[[Place, int], None], set[str]] = {
    remove_a_line: {"anchor_file", "unanchored"},
    change_a_line: {"anchor_file"},
    swap_lines: {"anchor_file"},
    add_words: {"anchor_file"},
    forge_a_line: {"anchor"},
    cut_lines_off: {"unanchored"},
    empty_it: {"unanchored"},
    tear_it: set(),
}


@pytest.mark.parametrize("at", [0, 1, 3])
@pytest.mark.parametrize("doing", FILE_DOINGS, ids=lambda doing: doing.__name__)
def test_what_was_done_to_the_file_is_named(place, doing, at):
    for _ in range(5):
        recorded(place.db, 2)
    place.keep_copy()

    doing(place, at)

    assert place.found() == FILE_DOINGS[doing]
    verified = verify(place.db, kept=place.kept(), now_us=NOW_US)
    assert verified.is_sound == (FILE_DOINGS[doing] <= DOUBTS)


@pytest.mark.parametrize("doing", [cut_lines_off, empty_it], ids=lambda doing: doing.__name__)
def test_what_was_cut_off_is_put_back_by_the_next_sync(place, doing):
    for _ in range(5):
        recorded(place.db, 2)
    place.keep_copy()
    before = place.workspace.seals.read_bytes()

    doing(place, 2)
    synced = anchors.sync(place.db, place.workspace)

    assert place.workspace.seals.read_bytes() == before
    assert place.found(with_copy=True) == set()
    # Whoever asked in that moment still knows what the file lacked.
    asked = Kept(anchors.read(place.workspace.seals), new=frozenset(synced.missed))
    told = verify(place.db, kept=asked, now_us=NOW_US).findings
    assert {(one.what, one.number) for one in told} == {("unanchored", 1)}
    assert len(told) == len(synced.added)


def test_a_line_that_the_power_tore_is_put_back_without_a_word(place):
    for _ in range(3):
        recorded(place.db, 2)
    place.keep_copy()
    before = place.workspace.seals.read_bytes()

    tear_it(place, 2)
    synced = anchors.sync(place.db, place.workspace)

    assert (synced.added, synced.missed, synced.was_torn) == ((3,), (), True)
    assert place.workspace.seals.read_bytes() == before


def test_a_line_that_was_taken_out_by_writing_the_file_anew_is_named_by_the_copy(place):
    for _ in range(3):
        recorded(place.db, 2)
    place.keep_copy()
    log = anchors.parse(place.workspace.seals.read_bytes())
    place.workspace.seals.write_text(anchors.render(log.seals[:1] + log.seals[2:]))

    assert place.found() == {"unanchored"}
    assert place.found(with_copy=True) == {"unanchored", "anchor_file"}


def test_a_copy_that_is_no_true_one_is_named(place):
    recorded(place.db)
    recorded(place.db)
    place.keep_copy()
    place.copy = anchors.parse(lines(place)[1])

    assert place.found(with_copy=True) == {"copy_file"}


def test_a_file_that_cannot_be_read_is_named(place):
    recorded(place.db)

    (finding,) = verify(place.db, kept=Kept(is_unreadable=True), now_us=NOW_US).findings
    assert finding == (None, None, "anchor_file", 1)


def test_without_the_file_nothing_is_said(place):
    recorded(place.db)
    assert place.found() == set()


def test_a_session_that_ended_just_now_may_be_without_its_line(place):
    recorded(place.db)
    anchors.sync(place.db, place.workspace)
    session = recorded(place.db)
    (sealed_us,) = place.db.execute("SELECT sealed_us FROM seals WHERE session = ?", (session,)).fetchone()

    for now_us, told in ((sealed_us + JUST_NOW_US, set()), (sealed_us + JUST_NOW_US + 1, {"unanchored"})):
        found = verify(place.db, kept=place.kept(), now_us=now_us).findings
        assert {one.what for one in found} == told


# --- what came late -----------------------------------------------------------------------------------------


def test_what_came_late_is_told_and_is_no_finding(place):
    sound = recorded(place.db)
    session = recorded(place.db, 2)
    late_note(place.db, session, START_US + 100)
    late_note(place.db, session, START_US + 200)

    verified = verify(place.db)

    assert verified.late == [Late(session, 2, 2, START_US + 100, START_US + 203)]
    assert (verified.findings, verified.is_sound) == ([], True)
    assert verify(place.db, sound).late == []
    assert verify(place.db, session).late == verified.late


def test_what_came_late_and_was_pruned_is_counted_still(place):
    session = recorded(place.db, 2)
    late_note(place.db, session, START_US + 100)
    seq, event = events(place.db, session)[-1]
    values = {"seq": seq, "session": session, "id": event, "kind": "note", "hash": "0", "by_event": event}
    place.db.execute(
        f"INSERT INTO pruned ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",
        [*values.values()],
    )
    place.db.execute("DELETE FROM events WHERE seq = ?", (seq,))

    assert verify(place.db).late == [Late(session, 1, 1, None, None)]


def test_all_of_a_session_that_ended_before_its_first_event_came_late(place):
    session = recorded(place.db, 0)
    late_note(place.db, session, START_US + 100)

    assert verify(place.db).late == [Late(session, 1, 1, START_US + 100, START_US + 103)]


# --- anything, at random ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_random_rewrites_are_never_overlooked(place, seed):
    chance = random.Random(seed)
    names = [recorded(place.db, chance.randint(3, 9)) for _ in range(chance.randint(2, 5))]
    for session in names:
        if chance.random() < 0.3:
            late_note(place.db, session, START_US + 1000)
    place.keep_copy()
    for _ in range(chance.randint(0, 2)):
        names.append(recorded(place.db, 3))
        anchors.sync(place.db, place.workspace)
    assert place.found(with_copy=True) == set()
    copied = {seal.session for seal in place.copy.seals}

    session, rewrite = chance.choice(names), chance.choice(REWRITES)
    rewrite(place.db, session, chance.randrange(1, len(events(place.db, session)) - 1))
    assert {one.what for one in verify(place.db).findings} - DOUBTS == set(), (seed, rewrite)
    assert "anchor" in place.found(), (seed, rewrite)
    if chance.random() < 0.5:
        anchors.sync(place.db, place.workspace)
        assert "anchor" in place.found(session), (seed, rewrite)

    doing = chance.choice([remove_a_line, change_a_line, swap_lines, add_words])
    doing(place, chance.randrange(len(lines(place)) - 1))
    assert "anchor_file" in place.found(), (seed, doing)

    place.workspace.seals.unlink()
    anchors.sync(place.db, place.workspace)
    assert place.found() - DOUBTS == set(), (seed, rewrite)
    assert ("copy" in place.found(with_copy=True)) == (session in copied), (seed, rewrite)


@pytest.mark.parametrize("seed", range(30))
def test_a_file_of_random_bytes_is_read_and_never_believed(place, seed):
    chance = random.Random(seed)
    for _ in range(4):
        recorded(place.db, 1)
    place.keep_copy()
    content = bytearray(place.workspace.seals.read_bytes())
    for _ in range(chance.randint(1, 5)):
        at = chance.randrange(len(content) - 1)
        changes: list[bytes] = [b"", bytes([chance.randrange(256)]), chance.randbytes(chance.randint(2, 30))]
        content[at : at + 1] = chance.choice(changes)
    log = anchors.parse(bytes(content))

    assert [seal for seal in log.seals if seal not in place.copy.seals] == []
    place.workspace.seals.write_bytes(content)
    found = place.found()
    n_excused = int(log.is_torn)
    assert bool(found) == (len(log.seals) + n_excused < len(place.copy.seals) or log.broken > 0), seed
    anchors.sync(place.db, place.workspace)
    assert "anchor" not in place.found(), seed
