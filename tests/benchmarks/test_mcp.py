"""The benchmark of the MCP proxy measures what it says it measures: tiny runs, no seconds asserted."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import mcp, mcp_peers
from benchmarks.__main__ import rooms
from benchmarks.mcp_peers import PROGRAMS, Found

TINY = mcp.Amount(1, 3, 1)
ALONE = Found({}, dict.fromkeys(PROGRAMS, "not installed"))
ECHO = f"#!{sys.executable} -S\n" + mcp.SERVER.read_text().replace("main(sys.argv[1])", 'main("stdio")')


def program(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_it_is_found_by_its_name():
    assert rooms(["mcp"]) == ["mcp"]


def test_without_peers_every_row_of_ours_has_a_figure_and_each_peer_a_reason():
    rows = mcp.measure(amount=TINY, peers=ALONE)

    assert [row["what"] for row in rows if row["ours"] is None] == []
    assert {row["peer_name"] for row in rows} == {mcp.DIRECT, *PROGRAMS}
    assert {row["reason"] for row in rows if row["peer_name"] in PROGRAMS} == {"not installed"}
    assert len([row for row in rows if "HTTP" in row["what"]]) == 2


def test_the_requests_that_warm_up_are_not_counted(tmp_path):
    times, failed = mcp.stdio(mcp.store(tmp_path), TINY, ALONE)

    assert failed == {}
    for one in times.values():
        assert len(one.start) == TINY.starts
        assert {method: len(took) for method, took in one.requests.items()} == dict.fromkeys(mcp.METHODS, 3)


def test_a_peer_is_measured_as_ours_is(tmp_path):
    """One that is the bare server itself."""
    found = Found({"fastmcp": program(tmp_path / "fastmcp", ECHO)}, {"mcp-proxy": "not installed"})

    rows = mcp.measure(amount=TINY, peers=found)

    theirs = [row for row in rows if row["peer_name"] == "fastmcp"]
    assert [row["peer"] for row in theirs if row["peer"] is None] == []
    assert len(theirs) == 5


def test_a_peer_that_does_not_answer_is_named_with_the_reason(tmp_path):
    found = Found({"fastmcp": program(tmp_path / "fastmcp", "#!/bin/sh\nexit 3\n")}, {"mcp-proxy": "none"})

    rows = mcp.measure(amount=TINY, peers=found)

    reasons = {row["reason"] for row in rows if row["peer_name"] == "fastmcp"}
    assert [reason.partition(":")[0] for reason in reasons] in (["RuntimeError"], ["BrokenPipeError"])
    assert [row["what"] for row in rows if row["ours"] is None] == []


def test_peers_are_looked_for_where_the_variables_say_and_in_path(tmp_path):
    own = program(tmp_path / "my-fastmcp", "#!/bin/sh\n")
    program(tmp_path / "mcp-proxy", "#!/bin/sh\n")

    found = mcp_peers.found({"PATH": str(tmp_path), "DEVTRACE_BENCH_FASTMCP": own})

    assert found == Found({"fastmcp": own, "mcp-proxy": str(tmp_path / "mcp-proxy")}, {})
    assert list(mcp_peers.found({"PATH": "/nowhere"}).missing) == ["fastmcp", "mcp-proxy"]
