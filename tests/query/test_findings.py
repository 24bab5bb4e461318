"""What a reviewer should look at in a change."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from devtrace.events import EditFiles, GitCommit
from devtrace.query.agents import Works
from devtrace.query.findings import Findings, sessions_of
from devtrace.query.gitrange import FileChange, changed, chosen
from devtrace.query.smells import FINDING, KINDS
from devtrace.store.connection import open_store
from tests.edits import Recorded as Place

EDIT = EditFiles(
    changes=[],
    attribution="command",
    confidence="window",
    chain="0" * 16,
    commit="1",
    before="0",
    root="/",
    files=0,
)
SECRET = "[redacted:command-password:62728a16]"


@pytest.fixture
def session(recorded):
    """An agent at work in a command that takes 100 seconds."""
    recorded.session(agent="claude-code")
    recorded.client = recorded.command("claude", 0, 100)
    recorded.tool("Read", {"file_path": "x"}, 0.5, parent=recorded.client)
    return recorded


def found(recorded: Any, *changes: FileChange, **more: Any) -> list[dict[str, Any]]:
    asked = {"commits": (), "base": None, "root": str(recorded.workspace.root)} | more
    findings = Findings(recorded.db, Works(recorded.db), [recorded.session_id], ("claude-code", "codex"))
    return findings.of(changes, **asked)


def texts(recorded: Any, *changes: FileChange, **more: Any) -> list[tuple[str, str]]:
    return [(row["kind"], row["text"]) for row in found(recorded, *changes, **more)]


def test_nothing_is_found_where_there_is_nothing(session):
    session.nested("make", session.client, 1)

    assert texts(session) == []


def test_a_finding_has_the_fields_that_are_documented(session):
    session.gap("lost_records", 3)

    assert [list(row) for row in found(session)] == [list(FINDING)]


# --- tests ----------------------------------------------------------------------------------------------


def change(path: str, added: tuple[bytes, ...] = (), deleted: tuple[bytes, ...] = (), word: str = "modified"):
    lines = tuple(enumerate(added, 1))
    return FileChange(
        path.encode(), None, word, None if word == "deleted" else "0" * 40, False, lines, deleted
    )


ONE, TWO = b"assert f(1)\n", b"assert f(2)\n"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            change("tests/a.py", (), (ONE,), "deleted"),
            ("test_deleted", "tests/a.py is gone, a test of 1 line"),
        ),
        (change("test_a.py", (b"x\n",), (ONE, TWO)), ("test_weakened", "test_a.py has 2 assertions less")),
        (
            change("a.test.ts", (b"it.skip('x')\n",), (b"it('x')\n",)),
            ("test_skipped", "a.test.ts has 1 test skipped that was not"),
        ),
        (
            change("test_a.py", (), (b"def test_b():\n", b"    run()\n")),
            ("test_deleted", "test_a.py has 1 test less: test_b"),
        ),
        (
            change("tests.py", (b"# assert f(1)\n",), (ONE,)),
            ("test_weakened", "tests.py has 1 assertion less"),
        ),
        (change("tests.py", (b"assert True\n",), (ONE,)), ("test_weakened", "tests.py has 1 assertion less")),
    ],
)
def test_tests_that_ask_less_are_found(session, changes, expected):
    assert texts(session, changes) == [expected]


def test_a_test_that_is_moved_or_written_otherwise_is_no_finding(session):
    moved = change("tests/b.py")._replace(old_path=b"tests/a.py", change="renamed")
    same = change("tests/c.py", (b"assert f(2)\n",), (b"assert f(1)\n",))
    other = change("a.py", (), (b"assert x\n",), "deleted")

    assert texts(session, moved, same, other) == []


def test_a_test_that_is_moved_to_where_none_are_is_gone(session):
    moved = change("old/a.py")._replace(old_path=b"tests/a.py", change="renamed")

    assert [kind for kind, _ in texts(session, moved)] == ["test_deleted"]


def test_a_test_that_went_to_another_file_is_no_finding(session):
    test = (b"def test_b():\n", b"    assert f(2)\n")
    left, took = change("tests/a.py", (), test), change("tests/b.py", test, ())

    assert texts(session, left, took) == []
    assert [kind for kind, _ in texts(session, left)] == ["test_deleted", "test_weakened"]


# --- commands -------------------------------------------------------------------------------------------


def test_a_commit_past_the_hooks_is_found_once_be_it_seen_or_told(session):
    session.tool("Bash", "git commit -nm x", 1, 1, call="a", parent=session.client)
    seen = session.nested("git commit -nm x", session.client, 1.5)
    session.tool("Bash", "git push --no-verify", 5, 1, call="b", parent=session.client)

    rows = found(session)

    assert [(row["kind"], row["text"]) for row in rows] == [
        ("no_verify", "git commit -nm x went past the repository's hooks"),
        ("no_verify", "Bash: git push --no-verify went past the repository's hooks"),
    ]
    assert rows[0]["event"] == seen


def test_a_printed_secret_is_found_in_outputs_and_in_results(session):
    session.command("env", 1, printed=f"X={SECRET}\n".encode())
    session.tool("Read", {"file_path": ".env"}, 2, result=f"X={SECRET}", parent=session.client)
    session.command(f"login {SECRET}", 3, printed=b"ok\n")
    session.command("env | sort", 4, printed=f"X={SECRET}\n".encode())
    mark_redacted(session)

    assert texts(session) == [("secret", "env printed a secret")]


def test_a_secret_that_only_a_tool_showed_is_found(session):
    session.tool("Read", {"file_path": ".env"}, 2, result=f"X={SECRET}", parent=session.client)
    mark_redacted(session)

    assert texts(session) == [("secret", "Read: .env gave the agent a secret")]


def test_a_document_that_speaks_of_secrets_is_none(session):
    session.command("cat README", 1, printed=f"shows {SECRET}\n".encode())
    session.tool("Read", {"file_path": "README"}, 2, result=f"shows {SECRET}", parent=session.client)

    assert texts(session) == []


def test_what_the_agent_wrote_itself_its_client_only_repeats(recorded):
    recorded.session(agent="claude-code")
    client = recorded.command("claude", 0, 100, printed=f"{SECRET}\n".encode())
    recorded.tool("Write", {"file_path": "x", "content": SECRET}, 1, result=SECRET, parent=client)
    mark_redacted(recorded)

    assert texts(recorded) == []


def mark_redacted(recorded: Any) -> None:
    """As the policy marks what it masked; the chain is of no concern here."""
    recorded.db.execute(
        "UPDATE events SET data = json_set(data, '$.redacted', json('[\"command-password\"]'))"
    )
    recorded.db.commit()


def test_a_failure_that_was_never_mended_is_found_and_one_that_was_is_not(session):
    session.nested("pytest", session.client, 1, exit_code=1)
    session.nested("pytest  ", session.client, 2, exit_code=0)
    session.nested("make lint", session.client, 3, exit_code=0)
    session.nested("make lint", session.client, 4, exit_code=2)
    last = session.nested("make lint", session.client, 5, exit_code=2)
    session.nested("grep -q x y", session.client, 6, exit_code=1)
    session.nested("sleep 9", session.client, 7, exit_code=130)

    (row,) = found(session)

    assert (row["kind"], row["text"], row["event"], row["count"]) == (
        "failed",
        "make lint failed with exit 2, 2 times and never succeeded after that",
        last,
        2,
    )


def test_a_failure_in_one_directory_is_not_mended_in_another(session):
    root = str(session.workspace.root)
    session.nested("make", session.client, 1, exit_code=2, body={"cwd": f"{root}/web"})
    session.nested("make", session.client, 2, exit_code=0, body={"cwd": f"{root}/api"})

    assert texts(session) == [("failed", "make failed in web with exit 2 and never succeeded after that")]


def test_a_directory_that_can_be_none_is_told_as_it_was_claimed(session):
    session.tool("Bash", "make", 1, 1, call="a", status="failed", parent=session.client, cwd="/a\0b")

    assert [text for _, text in texts(session)] == ["make failed in /a\0b and never succeeded after that"]


def test_a_part_of_a_pipeline_that_failed_is_found(session):
    session.nested("make test | tail -1", session.client, 1, body={"pipestatus": [4, 0]})
    session.nested("ls . && sh -c 'exit 1'", session.client, 2, exit_code=1)

    assert [text for _, text in texts(session)] == [
        "make test | tail -1 failed with exit 4 and never succeeded after that",
        "ls . && sh -c 'exit 1' failed with exit 1 and never succeeded after that",
    ]


def test_a_failure_that_the_agent_claims_of_what_looked_well_is_found(session):
    session.tool("Bash", "make test | tail", 1, 1, call="a", status="failed", parent=session.client)
    session.nested("make test | tail", session.client, 1.5)

    assert texts(session) == [("failed", "make test | tail failed and never succeeded after that")]


def test_a_failure_that_a_later_session_mended_is_not_found(recorded):
    first = recorded.session(agent="manual")
    recorded.command("make", 1, exit_code=2)
    recorded.command("make lint", 2, exit_code=2)
    second = recorded.session(10, agent="manual")
    recorded.command("make", 11)
    findings = Findings(recorded.db, Works(recorded.db), [first, second], ())

    rows = findings.of((), (), None, str(recorded.workspace.root))

    assert [row["text"] for row in rows] == ["make lint failed with exit 2 and never succeeded after that"]


def test_a_long_command_is_one_short_line(session):
    session.nested("cat > x <<END\n" + "line\n" * 500 + "END\nexit 4", session.client, 1, exit_code=4)

    assert texts(session) == [
        ("failed", "cat > x <<END (+502 lines) failed with exit 4 and never succeeded after that")
    ]


def test_a_failure_that_only_the_agent_tells_of_is_found_and_its_own_end_is_not(recorded):
    recorded.session(agent="claude-code")
    client = recorded.command("claude", 0, 100, exit_code=1)
    recorded.tool("Bash", "make", 1, 1, call="a", status="failed", exit_code=2, parent=client)

    assert texts(recorded) == [("failed", "make failed with exit 2 and never succeeded after that")]


# --- claims and what was not seen -----------------------------------------------------------------------


def test_a_claim_that_is_not_what_was_seen_is_found(session):
    session.tool("Bash", "make test", 1, 1, call="a", exit_code=0, parent=session.client)
    session.nested("true", session.client, 1.5)
    session.tool("Bash", "make", 3, 1, call="b", parent=session.client)
    session.nested("make", session.client, 3.5, exit_code=2)
    session.nested("make", session.client, 9, exit_code=0)

    assert texts(session) == [
        ("claim", "Bash: make test is what it says, and true is what ran"),
        ("claim", "Bash: make is said to end with success, and ended with exit 2"),
    ]


def test_files_outside_the_repository_are_found_each_once(session):
    for at, path in enumerate(("/etc/passwd", "/etc/passwd", "in/here", "../beside")):
        session.tool("Read", {"file_path": path}, at + 1, parent=session.client)
    session.tool("Write", {"file_path": "/etc/passwd"}, 9, parent=session.client)

    rows = [(row["text"], row["count"]) for row in found(session)]

    assert rows == [("Read read /etc/passwd", 2), ("Read read ../beside", 1), ("Write wrote /etc/passwd", 1)]


def test_a_store_that_was_copied_knows_where_it_was_recorded(session):
    root = str(session.workspace.root)
    session.tool("Write", {"file_path": f"{root}/a.txt"}, 1, parent=session.client)
    session.tool("Write", {"file_path": "/etc/passwd"}, 2, parent=session.client)
    session.nested("make", session.client, 3, exit_code=2, body={"cwd": f"{root}/web"})
    session.nested("make lint", session.client, 4, exit_code=2)

    assert [text for _, text in texts(session, root="/somewhere/else")] == [
        "make failed in web with exit 2 and never succeeded after that",
        "make lint failed with exit 2 and never succeeded after that",
        "Write wrote /etc/passwd",
    ]


def test_gaps_are_found_each_reason_once(session):
    session.gap("lost_records", 1)
    session.gap("lost_records", 2)
    session.gap("no_hooks", 3)

    assert [(row["text"], row["count"]) for row in found(session)] == [
        ("not observed: lost_records", 2),
        ("not observed: no_hooks", 1),
    ]


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ("aider", [("hooks", "aider: hooks: none known")]),
        ("custom:mine", [("hooks", "custom:mine: hooks: none known")]),
        ("codex", [("hooks", "codex: no hook of it was heard")]),
        ("manual", []),
    ],
)
def test_an_agent_whose_hooks_say_nothing_is_found(recorded, agent, expected):
    recorded.session(agent=agent)
    recorded.command(f"cd . && /usr/bin/{agent} --yes", 1)

    assert texts(recorded) == expected


def test_where_only_a_person_typed_no_hook_is_missed(recorded):
    recorded.session(agent="codex")
    recorded.command("echo codex > a.txt && vim x", 1)

    assert texts(recorded) == []


def test_hooks_that_a_gap_calls_silent_are_told_of_once(recorded):
    recorded.session(agent="codex")
    recorded.command("codex exec x", 1)
    recorded.gap("agent_hooks_silent", 2)

    assert [kind for kind, _ in texts(recorded)] == ["gap"]


def test_the_gravest_come_first(session):
    session.gap("lost_records", 1)
    session.nested("git push --no-verify", session.client, 2)
    session.nested("make", session.client, 2, exit_code=2)
    kinds = [kind for kind, _ in texts(session, change("tests/a.py", (), (b"assert 1\n",), "deleted"))]

    assert kinds == sorted(kinds, key=list(KINDS).index)
    assert kinds == ["test_deleted", "no_verify", "failed", "gap"]


# --- what of a session belongs to a range ---------------------------------------------------------------


def test_only_what_was_done_for_the_range_is_looked_at(session):
    def moved(new: str, at: float) -> None:
        session._plain(GitCommit(new=new, how="commit"), at, source="worktree", trusted=2)

    session.nested("before", session.client, 1, exit_code=2)
    moved("base", 2)
    session.tool("Bash", "git push --no-verify", 3, 0.1, call="a", parent=session.client)
    session.nested("during", session.client, 3.5, exit_code=2)
    moved("head", 4)
    session.nested("after", session.client, 5, exit_code=2)
    session.tool("Bash", "git push --no-verify origin", 6, 0.1, call="b", parent=session.client)

    assert [text for _, text in texts(session, commits={"head"}, base="base")] == [
        "Bash: git push --no-verify went past the repository's hooks",
        "during failed with exit 2 and never succeeded after that",
    ]
    assert sessions_of(session.db, ["head", "other"]) == [session.session_id]
    assert sessions_of(session.db, ["other"]) == []


def test_what_failed_after_a_commit_that_was_amended_elsewhere_is_not_looked_at(session):
    session.nested("before", session.client, 1, exit_code=2)
    edit = session._plain(EDIT, 2, source="worktree", trusted=2)
    session._plain(GitCommit(new="first", how="commit"), 3, source="worktree", trusted=2)
    session.nested("after", session.client, 4, exit_code=2)

    assert [text for _, text in texts(session, commits={"amended"}, edits={edit})] == [
        "before failed with exit 2 and never succeeded after that",
    ]
    assert len(texts(session, commits={"amended"})) == 2


# --- what was undone ------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path / "repo", agent="claude-code")
    made.git("checkout", "-q", "-b", "main")
    made.write("a.txt", "one\n")
    made.write("b.txt", "one\n")
    made.git("add", "-A")
    made.git("commit", "-qm", "first")
    made.begin()
    return made


def undone(place: Place) -> list[str]:
    with closing(open_store(place.workspace)) as db:
        found_range = chosen(place.root, "HEAD")
        findings = Findings(db, Works(db), [place.session], ("claude-code",))
        rows = findings.of(list(changed(found_range)), [], None, str(place.root))
        return [row["text"] for row in rows if row["kind"] == "undone"]


def test_what_was_changed_and_brought_back_is_found(place):
    for text in ("two\n", "one\n"):
        place.write("a.txt", text)
        place.command("edit")
    for text in ("two\n", "one\n", "three\n"):
        place.write("b.txt", text)
        place.command("edit")
    place.write("c.txt", "new\n")
    place.command("edit")
    (place.root / "c.txt").unlink()
    place.command("rm c.txt")
    place.git("commit", "-qam", "second")

    assert undone(place) == [
        "a.txt was changed and brought back to what it was, and nothing of it is left",
        "b.txt was changed and brought back to what it was",
        "c.txt was changed and brought back to what it was, and nothing of it is left",
    ]


def test_a_test_that_is_gone_names_the_event_that_took_it(place):
    place.write("tests/test_a.py", "def test_a():\n    assert f(1)\n")
    place.git("add", "-A")
    place.git("commit", "-qm", "a test")
    place.command("git commit")
    (place.root / "tests/test_a.py").unlink()
    place.command("rm tests/test_a.py")
    place.git("commit", "-qam", "no test")

    with closing(open_store(place.workspace)) as db:
        findings = Findings(db, Works(db), [place.session], ("claude-code",))
        rows = findings.of(list(changed(chosen(place.root, "HEAD"))), [], None, str(place.root))

    (gone,) = [row for row in rows if row["kind"] == "test_deleted"]
    assert (gone["session"], gone["event"]) == (place.session, place.rows()[-1]["id"])


def test_what_was_changed_and_stayed_so_is_not_found(place):
    for text in ("two\n", "three\n"):
        place.write("a.txt", text)
        place.command("edit")
    place.git("commit", "-qam", "second")

    assert undone(place) == []


def test_going_to_another_branch_and_back_undoes_nothing(place):
    place.git("checkout", "-q", "-b", "other")
    place.write("a.txt", "two\n")
    place.command("edit")
    place.git("commit", "-qam", "second")
    for branch in ("main", "other", "main", "other"):
        place.git("checkout", "-q", branch)
        place.command(f"git checkout {branch}")

    assert undone(place) == []


def test_a_path_that_no_file_can_have_lies_outside(session):
    session.tool("Write", {"file_path": "a\0b"}, 1, parent=session.client)

    assert [kind for kind, _ in texts(session)] == ["outside"]
