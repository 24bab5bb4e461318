"""`devtrace audit`, as typed, and what an agent was told, through `why`, `blame` and `show`."""

from __future__ import annotations

import pytest

from devtrace.views.jsonl import FIELDS
from tests.edits import Recorded


@pytest.fixture
def repo(tmp_path):
    return tmp_path / "repo"


@pytest.fixture
def working(repo):
    """An agent was told to write two lines, and did, by a tool and by its shell; one more nobody saw."""
    made = Recorded(repo, agent="claude-code")
    made.git("checkout", "-q", "-b", "main")
    made.write("a.txt", "one\n")
    made.git("add", "-A")
    made.git("commit", "-qm", "first")
    made.git("checkout", "-q", "-b", "work")
    made.begin()
    client = made.client()
    made.prompt("Add two lines.", turn="t")
    made.said("First by a tool.", turn="t")
    with made.calling("Edit", {"file_path": str(repo / "a.txt")}, call="a", turn="t", parent=client.id):
        made.write("a.txt", "one\ntwo\n")
        made.changed(client)
    with made.calling("Bash", "echo three >> a.txt", call="b", turn="t", parent=client.id):
        made.write("a.txt", "one\ntwo\nthree\n")
        made.command("echo three >> a.txt", parent=client.id)
    made.write("b.txt", "unseen\n")
    made.git("add", "-A")
    made.git("commit", "-qm", "second")
    return made


@pytest.fixture
def session(working):
    """The session of that, when it is over."""
    name = working.session
    working.end()
    return name


def test_a_verdict_is_the_first_line(run, session):
    told = run("audit")

    assert (told.status, told.err) == (0, "")
    first, about, *rest = told.out.splitlines()
    assert first == "66.7 % of 3 changed lines explained; 1 unexplained: b.txt:1."
    assert about.startswith("main..HEAD: ")
    assert "       2  observed by a tool call or command" in rest
    assert rest[-1] == "Nothing else to look at was found."


def test_a_range_a_commit_and_a_session_can_be_asked_for(run, session):
    assert run("audit", "main..work").out.splitlines()[0] == run("audit").out.splitlines()[0]
    assert run("audit", "main").out.startswith("0 % of 1 changed line explained; 1 before recording: a.txt:1")
    assert run("audit", "--session", session[:12]).out.startswith("100 % of 2 changed lines explained.")


def test_the_records_have_the_fields_that_are_documented(run, session):
    records = run("audit", "--json").records

    assert [record["record"] for record in records] == ["span", "span", "span", "audited"]
    for record in records:
        assert list(record) == list(FIELDS[record["record"]][1])
    assert [(one["start"], one["class"], one["reason"]) for one in records[:2]] == [
        (2, "observed", "First by a tool."),
        (3, "observed", None),
    ]
    assert (records[3]["percent"], records[3]["lines"]["unexplained"]) == (pytest.approx(66.67, abs=0.01), 1)


def test_ci_can_insist_on_a_share(run, session):
    assert run("audit", "--fail-under", "60").status == 0
    told = run("audit", "--fail-under", "66.7")
    assert (told.status, told.err) == (1, "")
    assert told.out.startswith("66.7 %")
    assert run("audit", "--fail-under", "66.6").status == 0
    assert run("audit", "--json", "--fail-under", "99").status == 1


def test_markdown_is_a_comment_for_a_review(run, session):
    told = run("audit", "--markdown")

    first, _, about, *rest = told.out.splitlines()
    assert first == "**66.7 % of 3 changed lines explained; 1 unexplained: `b.txt:1`.**"
    assert (about.startswith("`main..HEAD`: `"), f"in session `{session[:8]}" in about) == (True, True)
    assert "| +1 -0 | 0 % | `b.txt` | `1: nothing that was recorded holds it` |" in rest


def test_what_is_worth_a_look_is_listed(run, working):
    name = working.session
    working.command("git commit --no-verify -m x")
    working.end()

    told = run("audit", "--session", name)
    records = run("audit", "--session", name, "--json").records

    assert "Hooks of the repository left out\n  git commit --no-verify -m x went past" in told.out
    (concern,) = [one for one in records if one["record"] == "concern"]
    assert list(concern) == list(FIELDS["concern"][1])
    assert concern["kind"] == "no_verify"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("nothing..HEAD",), "ERR_RANGE"),
        (("--session", "ffff"), "ERR_ID_UNKNOWN"),
        (("HEAD", "--session", "ffff"), "ERR_USAGE"),
        (("--fail-under", "101"), "ERR_USAGE"),
        (("--fail-under", "-1"), "ERR_USAGE"),
        (("--fail-under", "nan"), "ERR_USAGE"),
        (("--fail-under", "inf"), "ERR_USAGE"),
        (("--json", "--markdown"), "ERR_USAGE"),
    ],
)
def test_a_question_that_cannot_be_answered_is_status_2(run, session, words, code):
    told = run("audit", *words)

    assert (told.status, told.out) == (2, "")
    assert f"[{code}]" in told.err


def test_that_there_is_no_answer_is_another_status_than_too_little(run, repo, tmp_path):
    assert run("audit", "--fail-under", "90", cwd=tmp_path).status == 2
    Recorded(repo).git("commit", "-q", "--allow-empty", "-m", "first")
    run("init")
    told = run("audit", "--fail-under", "90")

    assert (told.status, told.out) == (2, "")
    assert "[ERR_NO_CHECKPOINT]" in told.err


def test_where_nothing_is_to_be_explained_that_is_said_and_passes(run, session):
    told = run("audit", "HEAD..HEAD", "--fail-under", "100")

    assert told.out.startswith("No changed lines to explain.\n")
    assert (told.status, told.err) == (0, "Nothing is to be explained, so --fail-under 100 is met.\n")


def test_a_whole_file_that_nobody_explains_fails_who_asks_for_all(run, working):
    working.write("seen.bin", b"\0seen")
    working.write("c.txt", "seen\n")
    working.command("make")
    working.write("unseen.bin", b"\0unseen")
    working.git("add", "-A")
    working.git("commit", "-qm", "third")
    working.end()

    told = run("audit", "HEAD", "--fail-under", "100")
    (audited,) = [one for one in run("audit", "HEAD", "--json").records if one["record"] == "audited"]

    assert told.status == 1
    assert told.out.startswith("100 % of 1 changed line explained; 1 whole file unexplained: unseen.bin.\n")
    assert run("audit", "HEAD", "--fail-under", "99").status == 0
    assert [one["path"] for one in audited["whole"] if one["class"] == "unexplained"] == ["unseen.bin"]


def test_the_help_tells_the_classes_the_findings_and_the_statuses(run, tmp_path):
    told = " ".join(run("audit", "--help", cwd=tmp_path).out.split())

    for words in ("checkpoint only", "unexplained", "tests that are gone", "Exit status: 0 done; 1 less"):
        assert words in told


# --- what the agent was told ----------------------------------------------------------------------------


def test_why_reaches_the_prompt_and_the_quoted_reason(run, session):
    told = run("why", "a.txt:2")
    (record,) = run("why", "a.txt:2", "--json").records

    labels = [line.split()[0] for line in told.out.splitlines() if not line.startswith(" ")]
    assert labels == ["line", "written", "edit", "tool", "prompt", "reason", "command", "session"]
    assert "\nprompt      Add two lines.  " in told.out
    assert '\nreason      "First by a tool."\n' in told.out
    assert list(record["calls"][0]) == list(FIELDS["call"][1])[1:]
    assert "\nreason      no stated reason\n" in run("why", "a.txt:3").out


def test_blame_quotes_the_reason(run, session):
    one, two, three = run("blame", "a.txt").out.splitlines()

    assert "before recording" in one
    assert 'Edit "First by a tool."' in two
    assert "echo three >> a.txt" in three


def test_show_reads_as_a_conversation_and_each_part_leads_to_the_others(run, working, session):
    timeline = run("show").out
    (call,) = [row for row in working.rows("tool_call") if row["data"]["tool"] == "Edit"]
    shown = run("show", call["id"]).out
    edit = run("show", working.rows()[0]["id"]).out
    inner = next(row for row in working.rows("run_command") if row["parent"])

    assert "2 tool calls" in timeline
    assert [mark for mark in ("  prompt  ", "  said  ", "  tool  ") if mark not in timeline] == []
    for text in (shown, edit):
        assert '\nreason      "First by a tool."\n' in text
        assert "\nprompt      Add two lines.  " in text
    assert "\nchanged     a.txt: it changed while the call ran, which says that it writes that file" in shown
    assert "\nreason      no stated reason\n" in run("show", inner["id"]).out
