"""`devtrace export`: what leaves is what is stored."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from devtrace.query.events import COLUMNS
from tests.asciicast import read_strictly
from tests.views.export.test_agent_trace import check


@pytest.fixture
def session(recorded):
    ids = {"session": recorded.session(agent="codex", took=None)}
    ids["make"] = recorded.command(
        "make", 1, 5, printed=b"one\r\ntwo\r\n", timing=[[1000, 5], [2_000_000, 5]]
    )
    recorded.nested("cc", ids["make"], 2)
    recorded.command("cat \udce9", 7)
    recorded.note("line\u2028separator \x1b", 8)
    recorded.gap("lost_records", 9)
    recorded.command(None, 10, body={"text_form": "private"}, exit_code=1)
    recorded.end(20, exit_code=3)
    recorded.session(100)
    recorded.command("another session", 100)
    recorded.end(110)
    return ids


def test_jsonl_is_the_store_event_for_event(run, recorded, session):
    told = run("export", session["session"], "--format", "jsonl")

    cursor = recorded.db.execute(
        f"SELECT {', '.join(COLUMNS)} FROM events WHERE session = ? ORDER BY seq", (session["session"],)
    )
    stored = [dict(zip(COLUMNS, row, strict=True)) for row in cursor]
    for row in stored:
        row["data"] = json.loads(row["data"])
    assert told.out.isascii()
    assert [{"record": "event", **row} for row in stored] == told.records
    assert len(stored) == 6


def test_the_chain_can_be_checked_from_the_export_alone(run, recorded, session):
    from devtrace.store.chain import link

    previous = "0" * 64
    for record in run("export", session["session"], "--format", "jsonl").records:
        expected = record.pop("hash")
        row = {name: value for name, value in record.items() if name not in ("record", "seq")}
        row["data"] = json.dumps(row["data"], sort_keys=True, separators=(",", ":"))
        previous = link(previous, row)
        assert previous == expected


def test_one_event_can_be_exported_alone(run, session):
    (record,) = run("export", session["make"], "--format", "jsonl").records

    assert record["id"] == session["make"]


def test_asciicast_passes_a_strict_reader(run, session):
    header, events = read_strictly(
        run("export", session["session"], "--format", "asciicast").out.splitlines()
    )

    assert header["term"] == {"cols": 80, "rows": 24, "type": "xterm-256color"}
    assert [data for _, code, data in events if code == "m"] == ["make", "cat �", "(private)"]
    assert [(at, data) for at, code, data in events if data in ("one\r\n", "two\r\n")] == [
        (0.001, "one\r\n"),
        (1.999, "two\r\n"),
    ]
    assert events[-1][1:] == ("x", "3")
    assert round(sum(interval for interval, _, _ in events), 3) == 20


def test_a_file_is_written_whole_and_the_next_step_is_said(run, repo, session):
    told = run("export", session["session"], "--format", "asciicast", "-o", "out.cast")

    assert told.out.startswith("Wrote ")
    assert "Play it with: asciinema play out.cast" in told.out
    read_strictly((repo / "out.cast").read_text().splitlines())
    assert [path.name for path in repo.iterdir() if path.name.startswith(".out")] == []


def test_an_old_file_is_replaced(run, repo, session):
    (repo / "out.jsonl").write_text("old")

    run("export", session["session"], "--format", "jsonl", "-o", "out.jsonl")

    assert len((repo / "out.jsonl").read_text().splitlines()) == 6


def test_a_dash_is_stdout(run, session):
    assert len(run("export", session["session"], "--format", "jsonl", "-o", "-").records) == 6


def test_a_pipe_is_written_into_and_not_replaced(run, repo, session):
    os.mkfifo(repo / "pipe")
    reader = os.open(repo / "pipe", os.O_RDONLY | os.O_NONBLOCK)

    told = run("export", session["session"], "--format", "jsonl", "-o", "pipe")

    assert told.status == 0
    assert len(os.read(reader, 1 << 20).splitlines()) == 6
    assert (repo / "pipe").is_fifo()
    os.close(reader)


def test_a_link_is_followed_and_stays_one(run, repo, session):
    (repo / "link.jsonl").symlink_to("real.jsonl")

    run("export", session["session"], "--format", "jsonl", "-o", "link.jsonl")

    assert (repo / "link.jsonl").is_symlink()
    assert len((repo / "real.jsonl").read_text().splitlines()) == 6


@pytest.mark.parametrize("target", ["missing/out.cast", "a-directory"])
def test_a_place_that_cannot_be_written_is_status_1_and_leaves_nothing(run, repo, session, target):
    (repo / "a-directory").mkdir()

    told = run("export", session["session"], "--format", "jsonl", "-o", target)

    assert (told.status, "[ERR_EXPORT_WRITE]" in told.err) == (1, True)
    assert sorted(path.name for path in repo.iterdir()) == [".devtrace", ".git", "a-directory"]


def test_an_unknown_format_names_the_known_ones(run, session):
    told = run("export", session["session"], "--format", "pdf")

    assert (told.status, "[ERR_EXPORT_FORMAT]" in told.err) == (2, True)
    assert "agent-trace, asciicast, chrome, codetracer, jsonl" in told.err


def test_an_unknown_id_leaves_no_file(run, repo, session):
    told = run("export", "ffff", "--format", "jsonl", "-o", "out.jsonl")

    assert "[ERR_ID_UNKNOWN]" in told.err
    assert not (repo / "out.jsonl").exists()


@pytest.fixture
def place(tmp_path):
    """A commit with a line by an agent's tool and one that nobody saw."""
    from tests.edits import Recorded

    made = Recorded(tmp_path / "traced", agent="claude-code")
    made.write("a.txt", "one\n")
    made.git("add", "-A")
    made.git("commit", "-qm", "first")
    made.begin()
    client = made.client()
    made.prompt("go", turn="t")
    given = {"file_path": str(made.root / "a.txt")}
    with made.calling("Edit", given, call="a", turn="t", parent=client.id, model="claude-sonnet-4-5"):
        made.write("a.txt", "one\ntwo\n")
        made.changed(client)
    made.write("b.txt", "unseen\n")
    made.git("add", "-A")
    made.git("commit", "-qm", "second")
    made.end()
    return made


def test_a_commit_is_written_as_an_agent_trace(run, place):
    (record,) = run("export", "--format", "agent-trace", cwd=place.root).records
    (same,) = run("export", "HEAD", "--format", "agent-trace", cwd=place.root).records

    check(record)
    assert record == same
    assert record["vcs"]["revision"] == place.git("rev-parse", "HEAD")
    assert [
        (
            file["path"],
            one["contributor"],
            [(lines["start_line"], lines["end_line"]) for lines in one["ranges"]],
        )
        for file in record["files"]
        for one in file["conversations"]
    ] == [
        ("a.txt", {"type": "ai", "model_id": "anthropic/claude-sonnet-4-5"}, [(2, 2)]),
        ("b.txt", {"type": "unknown"}, [(1, 1)]),
    ]
    digest = hashlib.sha256(b"two\n").hexdigest()
    assert record["files"][0]["conversations"][0]["ranges"][0]["content_hash"] == f"sha256:{digest}"


def test_the_first_commit_is_a_trace_too(run, place):
    (record,) = run("export", "HEAD~1", "--format", "agent-trace", cwd=place.root).records

    check(record)
    assert record["files"][0]["conversations"][0]["contributor"] == {"type": "unknown"}


@pytest.mark.parametrize(
    ("words", "code"),
    [(("nothing", "--format", "agent-trace"), "ERR_RANGE"), (("--format", "jsonl"), "ERR_USAGE")],
)
def test_what_cannot_be_exported_is_status_2(run, place, words, code):
    told = run("export", *words, cwd=place.root)

    assert (told.status, told.out) == (2, "")
    assert f"[{code}]" in told.err
