"""What is pruned goes, what is kept stays whole, and the chain of the session says what went."""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
from contextlib import closing

import pytest

from devtrace.ids import new_session_id
from devtrace.query.verify import verify
from devtrace.store import chain, retention, sessions
from devtrace.store.append import append
from devtrace.store.connection import open_store
from devtrace.store.hold import hold
from devtrace.store.retention import EVENTS, OUTPUTS, WHENEVER, Author, Order, Share
from tests.store.crowd import tell
from tests.store.frames import START, begin, count, events, frame, is_whole

SEED = random.SystemRandom().randrange(1 << 32)
AUTHOR = Author("human", "cli", 0)


def session_of(db: sqlite3.Connection, *frames, ends: bool = True, **columns) -> str:
    """A session that is over, with these frames; times are those of the frames."""
    session = begin(db, new_session_id(), **columns)
    append(db, [one | {"session": session} for one in frames], recorded_us=START)
    if ends:
        sessions.end(db, session, ended_us=START + 9_000, status="ended", exit_code=0)
    return session


def printed(text: bytes, **changes):
    return frame(blobs={"output": text, "timing": b"[[0,%d]]" % len(text)}, **changes)


def prune(db, workspace, what=EVENTS, until_us=WHENEVER, **more) -> list[Share]:
    return list(retention.prune(db, workspace, Order(what, until_us, **more), AUTHOR))


def policies(db, session) -> list[dict]:
    rows = db.execute(
        "SELECT data FROM events WHERE session = ? AND kind = 'policy' ORDER BY seq", (session,)
    )
    return [json.loads(data) for (data,) in rows]


def assert_sound(db) -> None:
    assert is_whole(db)
    assert verify(db).findings == []


# --- events ---------------------------------------------------------------------------------------------


def test_a_pruned_event_leaves_its_stub_and_a_line_in_its_own_session(db, workspace):
    session = session_of(db, printed(b"secret plans"), frame("two"), frame("three"))
    other = session_of(db, frame("kept"), ends=False)
    before = db.execute("SELECT seq, id, kind, hash FROM events WHERE session = ?", (session,)).fetchall()

    (share,) = prune(db, workspace)

    assert (share.session, share.events, share.outputs) == (session, 3, 1)
    assert events(db, "kind", session) == ["policy"]
    assert db.execute("SELECT seq, id, kind, hash FROM pruned").fetchall() == before
    (told,) = policies(db, session)
    listed = json.dumps([list(row) for row in before], separators=(",", ":"), sort_keys=True)
    assert (told["action"], told["rule"], told["count"], told["listed"]) == ("pruned", "events", 3, 3)
    assert (told["first_seq"], told["last_seq"]) == (before[0][0], before[-1][0])
    assert told["sha256"] == hashlib.sha256(listed.encode()).hexdigest()
    assert (count(db, "blobs"), count(db, "outputs")) == (0, 0)
    assert events(db, "title", other) == ["$ kept"]
    assert_sound(db)


def test_the_number_of_events_of_a_session_counts_what_was_recorded(db, workspace):
    session = session_of(db, frame("one"), frame("two", status="failed"))
    prune(db, workspace)

    row = db.execute("SELECT n_events, n_failed FROM sessions WHERE id = ?", (session,)).fetchone()
    assert row == (3, 1)  # the line about the pruning is one more


def test_what_goes_on_is_left_alone(db, workspace):
    active = session_of(db, frame("active"), ends=False)
    held = session_of(db, frame("its host lives"))
    lock = hold(workspace, held)
    runs = session_of(db, frame("ended"))
    append(db, [frame("sleep 9", runs, status="running", ended_us=None, exit_source=None)])

    assert prune(db, workspace) == []
    assert retention.shares(db, workspace, Order(EVENTS, WHENEVER)) == []
    lock.close()
    assert [share.session for share in prune(db, workspace)] == [held]
    assert events(db, "title", active) == ["$ active"]


def test_what_the_record_lacks_is_said_for_ever(db, workspace):
    gap = frame("gap", kind="gap", data={"reason": "lost_records"})
    session = session_of(db, gap, frame("one"))
    prune(db, workspace)
    prune(db, workspace)

    assert events(db, "kind", session) == ["gap", "policy"]
    assert_sound(db)


def test_only_what_is_old_enough_goes_kind_by_kind(db, workspace):
    old, new = {"ended_us": START}, {"started_us": START + 5_000, "ended_us": START + 6_000}
    note = {"kind": "note", "data": {"text": "x"}}
    session = session_of(db, frame("old", **old), frame("new", **new), frame("note", **note, **old))

    prune(db, workspace, until_us=None, by_kind={"edit_files": WHENEVER})
    assert len(events(db, session=session)) == 3
    prune(db, workspace, until_us=START + 6_000, by_kind={"note": START})
    assert events(db, "title", session)[:2] == ["$ new", "$ note"]
    prune(db, workspace, until_us=None, by_kind={"note": START + 1})
    assert events(db, "title", session)[0] == "$ new"
    assert events(db, "kind", session) == ["run_command", "policy", "policy"]
    assert_sound(db)


def test_labelled_sessions_and_snapshots_stay_unless_they_are_to_go(db, workspace):
    labelled = session_of(db, frame("one"), title="before the release")
    state = frame("state", kind="git_snapshot", data={"label": "good", "chain": "c", "commit": "d"})
    nameless = frame("state", kind="git_snapshot", data={"label": "", "chain": "c", "commit": "d"})
    order = session_of(db, state, nameless, kind="snapshot", title="snapshot")

    assert [share.session for share in prune(db, workspace)] == [order]
    assert events(db, "kind", order) == ["git_snapshot", "policy"]
    prune(db, workspace, keep_labelled=False)
    assert (events(db, "kind", labelled), events(db, "kind", order)) == (["policy"], ["policy", "policy"])
    assert_sound(db)


def test_only_large_ones_go_where_that_is_asked(db, workspace):
    large = printed(random.randbytes(3_000))
    session = session_of(db, large, frame("small"), frame("x" * 2_000))

    assert [share.outputs for share in prune(db, workspace, OUTPUTS, larger_than=2_000)] == [1]
    assert [share.events for share in prune(db, workspace, EVENTS, larger_than=2_000)] == [1]
    assert len(events(db, session=session)) == 4
    assert_sound(db)


def test_a_command_and_its_late_end_go_together(db, workspace):
    cut_short = frame("make", status="interrupted", exit_source="unknown", ended_us=None, exit_code=None)
    session = session_of(db, cut_short)
    append(db, [cut_short | {"session": session, "status": "ok", "ended_us": START + 8_000}])
    assert (count(db, "links"), len(events(db, session=session))) == (1, 2)

    assert prune(db, workspace, until_us=START + 5_000) == []  # the end is not that old
    (share,) = prune(db, workspace, until_us=START + 8_001)

    assert (share.events, count(db, "links")) == (2, 0)
    assert_sound(db)


def test_what_was_pruned_and_is_delivered_again_stays_pruned(db, workspace):
    one = frame("one")
    session = session_of(db, one)
    prune(db, workspace)

    assert append(db, [one | {"session": session}]) == 0
    assert events(db, "kind", session) == ["policy"]


def test_changed_files_of_a_pruned_edit_are_not_found_any_more(db, workspace):
    change = {"path": "a", "change": "added", "new_oid": "1" * 40}
    edit = {"changes": [change], "chain": "c" * 16, "attribution": "command", "commit": "d" * 40}
    session_of(db, frame("edit", kind="edit_files", data=edit), frame("two"))
    assert count(db, "file_changes") == 1
    prune(db, workspace, until_us=None, by_kind={"edit_files": WHENEVER})

    assert count(db, "file_changes") == 0
    assert_sound(db)


def test_many_events_go_in_many_short_transactions(db, workspace):
    session = session_of(db, *(frame(f"echo {number}") for number in range(2 * retention.BATCH + 1)))
    steps = prune(db, workspace)

    assert [step.events for step in steps] == [retention.BATCH, retention.BATCH, 1]
    assert len(policies(db, session)) == 3
    assert_sound(db)


def test_it_stops_when_it_may_not_go_on(db, workspace):
    session_of(db, *(frame(f"echo {number}") for number in range(2 * retention.BATCH)))
    answers = iter([True, False, False])
    steps = list(
        retention.prune(db, workspace, Order(EVENTS, WHENEVER), AUTHOR, goes_on=lambda: next(answers))
    )

    assert sum(step.events for step in steps) == retention.BATCH
    assert_sound(db)


# --- outputs --------------------------------------------------------------------------------------------


def test_an_output_goes_and_its_event_stays_as_it_was(db, workspace):
    session = session_of(db, printed(b"line\n" * 500), frame("silent"))
    before = db.execute("SELECT data, hash FROM events ORDER BY seq").fetchall()
    (planned,) = retention.shares(db, workspace, Order(OUTPUTS, WHENEVER))
    (share,) = prune(db, workspace, OUTPUTS)

    assert (share.outputs, share.events) == (1, 0)
    assert share == planned
    assert db.execute("SELECT data, hash FROM events WHERE kind <> 'policy'").fetchall() == before
    assert (count(db, "blobs"), count(db, "pruned_blobs"), count(db, "outputs")) == (0, 2, 0)
    verified = verify(db)
    assert (verified.findings, verified.dropped, verified.blobs) == ([], 1, 0)
    (told,) = policies(db, session)
    assert (told["rule"], told["count"], told["listed"], told["size"]) == ("outputs", 1, 2, share.size)
    assert prune(db, workspace, OUTPUTS) == []
    assert_sound(db)


def test_what_another_event_still_keeps_stays_until_that_lets_go(db, workspace):
    first = session_of(db, printed(b"up to date"), started_us=START)
    second = session_of(db, printed(b"up to date"), ends=False, started_us=START + 1)
    digest = hashlib.sha256(b"up to date").hexdigest()

    prune(db, workspace, OUTPUTS)
    assert db.execute("SELECT refs FROM blobs WHERE sha256 = ?", (digest,)).fetchone() == (1,)
    assert_sound(db)
    sessions.end(db, second, ended_us=START, status="ended", exit_code=0)
    prune(db, workspace, EVENTS, sessions=[first])  # its name was taken off already
    assert db.execute("SELECT refs FROM blobs WHERE sha256 = ?", (digest,)).fetchone() == (1,)
    prune(db, workspace, EVENTS, sessions=[second])
    assert count(db, "blobs") == 0
    assert_sound(db)


def test_an_output_whose_last_keeper_was_pruned_is_no_finding_in_the_event_that_let_go_before(db, workspace):
    session_of(db, printed(b"same"))
    second = session_of(db, printed(b"same"), ends=False)
    prune(db, workspace, OUTPUTS)
    sessions.end(db, second, ended_us=START, status="ended", exit_code=0)
    prune(db, workspace, EVENTS, sessions=[second])

    assert_sound(db)


def test_what_was_pruned_may_be_printed_again(db, workspace):
    first = session_of(db, printed(b"again"))
    prune(db, workspace, OUTPUTS)
    second = session_of(db, printed(b"again"))
    assert_sound(db)
    prune(db, workspace, EVENTS, sessions=[first])
    assert count(db, "blobs") == 2
    assert_sound(db)
    prune(db, workspace, OUTPUTS, sessions=[second])
    assert (count(db, "blobs"), [told["listed"] for told in policies(db, second)]) == (0, [None])
    assert_sound(db)


@pytest.mark.parametrize("number", range(12))
def test_random_records_pruned_in_random_ways_stay_sound(db, workspace, number):
    tell(f"seed {SEED + number}")
    chance = random.Random(SEED + number)
    texts = [chance.randbytes(chance.randrange(1, 900)) for _ in range(6)]
    for _ in range(chance.randrange(2, 5)):
        frames = [
            printed(chance.choice(texts), ended_us=START + chance.randrange(100))
            if chance.random() < 0.5
            else frame(f"x{chance.random()}", ended_us=START + chance.randrange(100))
            for _ in range(chance.randrange(1, 30))
        ]
        session_of(db, *frames, ends=chance.random() < 0.8)
    for _ in range(4):
        order = Order(
            chance.choice((EVENTS, OUTPUTS)),
            START + chance.randrange(120),
            larger_than=chance.choice((-1, 200)),
        )
        planned = retention.shares(db, workspace, order)
        done = list(retention.prune(db, workspace, order, AUTHOR))
        assert [share[:3] for share in done] == [share[:3] for share in planned]
        assert_sound(db)


# --- the chain and its stubs ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM pruned WHERE seq = 2",
        "DELETE FROM pruned",
        "UPDATE pruned SET hash = '" + "0" * 64 + "' WHERE seq = 1",
        "UPDATE pruned SET kind = 'note' WHERE seq = 2",
        "UPDATE pruned SET by_event = 'ffffffffffffffff' WHERE seq = 2",
        "UPDATE events SET data = json_set(data, '$.listed', 2) WHERE kind = 'policy'",
    ],
)
def test_stubs_that_nobody_listed_are_seen(db, workspace, damage):
    session_of(db, frame("one"), frame("two"), frame("three"))
    prune(db, workspace)
    assert_sound(db)
    db.execute(damage)

    assert chain.check(db, events_of(db)) is not None
    assert "stub" in {finding.what for finding in verify(db).findings}


def test_an_event_that_became_a_stub_without_a_word_is_seen(db, workspace):
    session = session_of(db, frame("one"), frame("two"), frame("three"))
    stub = "SELECT seq, session, id, kind, hash, 'ffffffffffffffff' FROM events WHERE seq = 2"
    db.execute(f"INSERT INTO pruned {stub}")
    db.execute("DELETE FROM events WHERE seq = 2")

    assert chain.check(db, session) is not None
    assert {finding.what for finding in verify(db).findings} == {"stub"}


@pytest.mark.parametrize(
    "damage",
    [
        "INSERT INTO pruned_blobs SELECT sha256, session, e.id FROM blobs, events e WHERE kind = 'policy'",
        "INSERT INTO pruned_blobs SELECT sha256, '', 'ffffffffffffffff' FROM blobs",
        "SELECT 1",
    ],
)
def test_an_output_that_was_taken_away_is_seen_whatever_is_said_of_it(db, workspace, damage):
    session_of(db, printed(b"dropped by right"))
    prune(db, workspace, OUTPUTS)
    session_of(db, printed(b"taken away"))
    db.execute(damage)
    db.execute("DELETE FROM blobs")

    assert "blob_missing" in {finding.what for finding in verify(db).findings}


def test_a_seal_over_an_event_holds_over_its_stub(db, workspace):
    session = session_of(db, frame("one"), frame("two"))
    prune(db, workspace)
    (seq,) = db.execute("SELECT seq FROM seals WHERE late = 0").fetchone()
    assert db.execute("SELECT 1 FROM pruned WHERE seq = ?", (seq,)).fetchone() is not None
    assert chain.check(db, session) is None

    db.execute("UPDATE seals SET hash = ? WHERE late = 0", ("0" * 64,))
    assert chain.check(db, session) == seq
    assert {finding.what for finding in verify(db).findings} >= {"seal"}


def events_of(db) -> str:
    return str(db.execute("SELECT id FROM sessions").fetchone()[0])


# --- what a review found ---------------------------------------------------------------------------------


def test_a_late_end_that_is_too_young_keeps_its_command_and_the_plan_says_the_same(db, workspace):
    cut = frame("sleep", status="interrupted", exit_source="unknown", started_us=START, ended_us=None)
    session = session_of(db, cut, frame("old", started_us=START, ended_us=START))
    append(
        db, [cut | {"session": session, "status": "ok", "exit_source": "shell", "ended_us": START + 9_999}]
    )
    order = Order(EVENTS, START + 5_000)

    (plan,) = retention.shares(db, workspace, order)
    done = list(retention.prune(db, workspace, order, AUTHOR))

    assert [plan.events] == [one.events for one in done] == [1]
    assert events(db, "status", session) == ["interrupted", "ok", "ok"]
    assert_sound(db)


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("UPDATE blobs SET refs = refs + 1", "refs"),
        ("DELETE FROM outputs", "refs"),
        (
            "INSERT INTO links SELECT session, id, session, id, 'end', 'certain', 1 FROM events",
            "index",
        ),
        (
            "INSERT INTO file_changes (session, event, chain, path, change, attribution)"
            " SELECT session, id, 'c', 'p', 'modified', 'command' FROM events",
            "index",
        ),
    ],
)
def test_tables_that_readers_believe_are_held_against_the_events(db, workspace, damage, what):
    session_of(db, printed(b"one"), frame("two"))
    assert_sound(db)

    db.execute(damage)

    assert {finding.what for finding in verify(db).findings} == {what}


def test_a_late_seal_that_says_it_is_none_is_counted_all_the_same(db, workspace):
    session = session_of(db, frame("one"))
    append(db, [frame("late", session=session)])
    db.execute("UPDATE seals SET late = 0")

    (late,) = verify(db).late

    assert (late.seals, late.events) == (1, 1)


def test_what_others_write_meanwhile_is_no_finding(db, workspace, monkeypatch):
    """Between two of its questions a live session goes on: it is one state that is looked at."""
    session = session_of(db, frame("one"), ends=False)
    walked = chain.walk

    def walk_and_write(reading, one):
        yield from walked(reading, one)
        with closing(open_store(workspace)) as other:
            append(other, [frame("two", session=session)])

    monkeypatch.setattr(chain, "walk", walk_and_write)

    assert verify(db).findings == []
