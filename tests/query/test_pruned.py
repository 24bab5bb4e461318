"""Every question finds its way through a store of which a part was pruned."""

from __future__ import annotations

import pytest

from devtrace.errors import UsageError
from devtrace.query.diff import net, select
from devtrace.query.events import count_events, get_event, list_events, with_late_end, with_late_ends
from devtrace.query.filters import Filters
from devtrace.query.follow import Follow
from devtrace.query.ids import Found, resolve
from devtrace.query.output import has_output, output
from devtrace.query.sessions import get_session, list_sessions, tally
from devtrace.query.stats import held, stats
from devtrace.query.verify import verify
from devtrace.store import retention
from devtrace.store.retention import EVENTS, OUTPUTS, WHENEVER, Author, Order
from tests.recorded import SECOND, START

AUTHOR = Author("human", "cli", 0)


def prune(recorded, what=EVENTS, until=WHENEVER, **more) -> int:
    order = Order(what, until, **more)
    done = retention.prune(recorded.db, recorded.workspace, order, AUTHOR)
    return sum(share.events or share.outputs for share in done)


@pytest.fixture
def worked(recorded):
    """A session of which the first half is pruned; the command at its start had others inside."""
    recorded.session(0)
    recorded.outer = recorded.command("make", 0, 5, printed=b"made\n")
    recorded.nested("gcc", recorded.outer, 1, 1)
    recorded.inner = recorded.nested("ld", recorded.outer, 20, 1)
    recorded.later = recorded.command("ls", 30, 1, printed=b"a\n")
    recorded.note("remember", 40)
    recorded.end(50)
    assert prune(recorded, until=START + 10 * SECOND) == 2
    return recorded


def test_lists_counts_and_tallies_tell_what_is_left(worked):
    session = worked.session_id
    titles = [row["title"] for row in with_late_ends(worked.db, list_events(worked.db, Filters()))]
    assert titles[:3] == ["$ ld", "$ ls", "remember"]
    assert titles[3].startswith("policy: pruned 2 events")
    assert count_events(worked.db, Filters(session=session)) == 4
    counted = tally(worked.db, session)
    assert (counted["commands"], counted["nested"], counted["notes"]) == (1, 1, 1)
    assert stats(worked.db, Filters())["commands"] == 2
    assert held(worked.db)["n_pruned"] == 2
    assert [row["n_events"] for row in list_sessions(worked.db, Filters())] == [6]
    assert get_session(worked.db, session)["status"] == "ended"


def test_a_pruned_event_is_unknown_and_what_happened_in_it_is_told_without(worked):
    with pytest.raises(UsageError) as raised:
        resolve(worked.db, worked.outer)
    assert raised.value.code == "ERR_ID_UNKNOWN"
    assert str(raised.value) == f"event {worked.outer} was pruned"
    with pytest.raises(UsageError, match="no session or event"):
        resolve(worked.db, "f" * 16)
    row = with_late_end(worked.db, get_event(worked.db, worked.session_id, worked.inner))
    assert row["parent"] == worked.outer
    assert select(worked.db, Found(worked.session_id)).edits == []
    assert net(worked.db, []) == []


def test_a_pruned_output_is_said_to_be_pruned(worked):
    event = get_event(worked.db, worked.session_id, worked.later)
    assert has_output(worked.db, event)
    prune(worked, OUTPUTS)

    assert not has_output(worked.db, event)
    with pytest.raises(UsageError) as raised:
        output(worked.db, event)
    assert (raised.value.code, "pruned" in raised.value.hint) == ("ERR_NO_OUTPUT", True)


def test_an_output_of_which_only_the_times_are_gone_can_still_be_read(recorded):
    recorded.session(0)
    recorded.command("one", printed=b"first", timing=[[0, 4]])
    recorded.end(1)
    recorded.session(2)
    event = recorded.command("two", printed=b"other", timing=[[0, 4]])
    assert prune(recorded, OUTPUTS) == 1
    recorded.db.execute(
        "DELETE FROM blobs WHERE sha256 IN (SELECT sha256 FROM pruned_blobs)"  # as if it had let go too
    )

    told = output(recorded.db, get_event(recorded.db, recorded.session_id, event))
    assert (told.data, told.timing) == (b"other", [])


def test_an_output_that_found_no_room_says_which_setting_it_was(recorded):
    session = recorded.session(0)
    event = get_event(recorded.db, session, recorded.command("make"))
    event["data"]["dropped"] = "limits.session_mb"

    with pytest.raises(UsageError) as raised:
        output(recorded.db, event)
    assert "limits.session_mb" in raised.value.hint


def test_who_follows_hears_of_the_pruning_and_of_nothing_twice(worked):
    follow = Follow(worked.workspace, Filters(limit=10))
    first = follow.poll()
    assert len(first) == 4
    prune(worked, until=START + 35 * SECOND)
    assert [row["kind"] for row in follow.poll()] == ["policy"]
    assert follow.poll() == []

    prune(worked)
    follow.close()  # as after an error: it finds its place again, at an event that is pruned by now
    assert [row["kind"] for row in follow.poll()] == ["policy"]
    follow.close()


def test_who_stands_at_an_event_that_is_pruned_finds_the_place_again(recorded):
    recorded.session(0)
    recorded.command("one", 1)
    recorded.command("two", 2)
    recorded.end(3)
    follow = Follow(recorded.workspace, Filters(limit=10))
    assert len(follow.poll()) == 2
    follow.close()
    prune(recorded)

    assert [row["kind"] for row in follow.poll()] == ["policy"]
    follow.close()


def test_verify_counts_what_was_pruned(worked):
    prune(worked, OUTPUTS)
    verified = verify(worked.db)

    assert (verified.findings, verified.pruned, verified.dropped) == ([], 2, 1)
    assert verified.events == 5
    assert verify(worked.db, worked.session_id).findings == []
