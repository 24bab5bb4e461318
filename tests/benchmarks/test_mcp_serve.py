"""The benchmark of the server measures what it says it measures: a tiny run, no seconds asserted."""

from __future__ import annotations

from contextlib import closing

import pytest

from benchmarks import mcp_serve
from devtrace.services.mcp_server.tools import TOOLS
from devtrace.store.connection import open_reader
from devtrace.store.search_index import state_of

pytestmark = pytest.mark.needs("git")


def test_the_store_it_asks_holds_an_agents_edits_and_can_be_searched(tmp_path):
    workspace = mcp_serve.make(tmp_path / "repository", 300, 3)

    with closing(open_reader(workspace)) as db:
        count = "SELECT count(*) FROM events WHERE kind = ?"
        assert db.execute(count, ("edit_files",)).fetchone() == (3,)
        assert db.execute(count, ("tool_call",)).fetchone() == (3,)
        (last,) = db.execute("SELECT max(seq) FROM events").fetchone()
        state = state_of(db)
    assert state is not None
    assert (state.low, state.high) == (0, last)


def test_every_tool_has_a_median_and_a_95th_percentile(tmp_path):
    rows = mcp_serve.measure(quick=True, events=300)

    named = {row["what"].split(" ")[0].rstrip(",") for row in rows}
    assert {tool.name for tool in TOOLS} <= named
    for row in rows:
        assert row["ours"] is not None
        assert row["ours"] > 0
        assert (row["peer"] is None) == (row["peer_name"] == "")
