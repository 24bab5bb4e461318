"""The benchmark of reading measures what it says it measures: a tiny run, no seconds asserted."""

from __future__ import annotations

import pytest

from benchmarks import reading
from devtrace.query.events import list_events
from devtrace.query.filters import Filters
from devtrace.query.sessions import list_sessions
from devtrace.store.chain import check
from devtrace.store.connection import open_reader
from devtrace.workspace import Workspace


def test_the_store_it_reads_is_a_true_one(tmp_path):
    workspace = Workspace(tmp_path / ".devtrace")

    reading.fill(workspace, 300)

    db = open_reader(workspace)
    found = list_sessions(db, Filters())
    assert [session["n_events"] for session in found] == [100] * 3
    assert [session["n_failed"] for session in found] == [5] * 3
    assert len(list_events(db, Filters())) == 300
    assert [check(db, session["id"]) for session in found] == [None] * 3
    db.close()


@pytest.mark.needs("git")
def test_every_row_has_a_figure_and_a_ratio_where_there_is_a_peer():
    rows = reading.measure(quick=True, events=300)

    assert len(rows) == 7
    for row in rows:
        assert row["ours"] is not None
        assert row["ours"] > 0
        assert (row["peer"] is None) == (row["peer_name"] == "")
        assert (row["ratio"] is None) == (row["peer"] is None)
    assert rows[-1]["peer_name"] == "git log -20"
