"""The benchmark of writing measures what it says it measures: a tiny run, no seconds asserted."""

from __future__ import annotations

from benchmarks import store

TINY = store.Amount(batched=40, single=5, writers=3, each=7, rounds=1)


def test_every_row_has_a_figure_and_a_ratio_where_there_is_a_peer():
    rows = store.measure(amount=TINY)

    assert [row["what"] for row in rows] == [
        "append, 300 events a transaction",
        "append, one event a transaction",
        "3 processes, 7 events each, one a transaction",
        "of these 21 lost",
        "spool, one event a frame",
        "drain the spool",
    ]
    assert [row["ours"] for row in rows if row["unit"] == "events"] == [0.0]
    for row in rows:
        assert row["ours"] is not None
        assert (row["ours"] > 0) == (row["unit"] == store.UNIT)
        assert (row["peer"] is None) == (row["peer_name"] == "") == (row["ratio"] is None)
