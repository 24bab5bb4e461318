"""What a command changed in the working tree: told under it, with its lines, and never under another one."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.hosts import until
from tests.acceptance.record import Session
from tests.acceptance.traced import DEVTRACE, Shell
from tests.processes import environment

Row = dict[str, Any]


def git(*arguments: str) -> str:
    """Git in the directory of the test."""
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository() -> Path:
    """A repository with two files committed, in the directory where the shells start."""
    git("init", "-q")
    Path("api.py").write_text("one\ntwo\nthree\n")
    Path("notes").mkdir()
    Path("notes/todo.txt").write_text("first\n")
    Path(".gitignore").write_text("*.log\nbuild/\n")
    git("add", "-A")
    git("commit", "-qm", "begin")
    return Path.cwd()


def edits(session: Session) -> list[Row]:
    return session.events("edit_files")


def told(session: Session) -> set[tuple[str, str, str | None]]:
    """(change, path, the command it stands under) of every change."""
    commands = {row["id"]: row["data"]["command"] for row in session.events("run_command")}
    return {
        (change["change"], change["path"], commands.get(row["parent"]))
        for row in edits(session)
        for change in row["data"]["changes"]
    }


def does(shell: Shell, line: str, *changes: tuple[str, str]) -> None:
    """Type a line, and wait until what it changes is told: the next one's changes are its own."""
    seen: list[object] = []

    def is_told(session: Session) -> bool:
        seen[:] = [told(session), [(row["title"], row["data"]["attribution"]) for row in edits(session)]]
        return {(change, path, line) for change, path in changes} <= told(session)

    shell.types(line)
    try:
        shell.until(is_told)
    except AssertionError as error:
        raise AssertionError(f"{line!r} is told with {changes}, and not: {seen}") from error


# --- under the command --------------------------------------------------------------------------------------


def test_what_a_command_changed_is_told_under_it(repository: Path, shell: Shell) -> None:
    does(shell, "echo four >> api.py", ("modified", "api.py"))
    does(shell, "echo new > new.txt", ("added", "new.txt"))
    does(shell, "mv notes/todo.txt notes/done.txt", ("renamed", "notes/done.txt"))
    does(shell, "rm new.txt", ("deleted", "new.txt"))
    does(shell, "chmod +x api.py", ("mode", "api.py"))

    session = shell.session

    assert {row["data"]["attribution"] for row in edits(session)} == {"command"}
    assert [(row["data"]["added"], row["data"]["deleted"]) for row in edits(session)] == [
        (1, 0),
        (1, 0),
        (0, 0),
        (0, 1),
        (0, 0),
    ]
    assert [row["title"] for row in edits(session)] == [
        "+1 -0 api.py",
        "+1 -0 added new.txt",
        "+0 -0 notes/todo.txt -> notes/done.txt",
        "+0 -1 deleted new.txt",
        "+0 -0 mode api.py",
    ]


def test_of_lines_that_are_pasted_each_has_its_own_changes(repository: Path, shell: Shell) -> None:
    """They begin and end within one tick of the file system's clock, and before anybody has looked."""
    does(shell, "echo once > first", ("added", "first"))
    lines = [f"echo {number} > f{number}" for number in range(12)]
    shell.presses("\r".join(lines) + "\r")
    shell.until(lambda session: len(told(session)) == 1 + len(lines))

    wanted = {("added", "first", "echo once > first")}
    wanted |= {("added", f"f{number}", f"echo {number} > f{number}") for number in range(12)}
    assert told(shell.session) == wanted


@pytest.mark.shells("bash")
def test_a_timeline_shows_the_edits_under_their_commands(repository: Path, shell: Shell) -> None:
    does(shell, "echo four >> api.py", ("modified", "api.py"))
    shell.ends()

    lines = shell.devtrace("show").stdout.splitlines()

    at = next(number for number, line in enumerate(lines) if "echo four" in line)
    assert "edit" in lines[at + 1]
    assert "+1 -0 api.py" in lines[at + 1]


@pytest.mark.shells("bash")
def test_what_changed_nothing_is_told_of_nothing(repository: Path, shell: Shell) -> None:
    shell.types("touch api.py; cp api.py copy; mv copy api.py; echo x > tmp; rm tmp; git status -s")
    shell.types("echo log > a.log; mkdir -p build && echo x > build/out; mkdir empty; mkfifo pipe; rm pipe")
    does(shell, "echo mark > mark", ("added", "mark"))

    assert [row["title"] for row in edits(shell.session)] == ["+1 -0 added mark"]


@pytest.mark.shells("bash", "zsh")
def test_directories_that_are_made_and_filled_at_once_are_told_whole(repository: Path, shell: Shell) -> None:
    shell.writes("fill.py", "import os\nfor n in range(200):\n    os.makedirs(f'd{n}/e/f')\n"
                 "    open(f'd{n}/e/f/g', 'w').write(f'{n}\\n')\n")  # fmt: skip
    line = f"{sys.executable} ~/fill.py"
    does(shell, line, ("added", "d199/e/f/g"))
    shell.until(lambda session: len(told(session)) >= 200)

    assert told(shell.session) == {("added", f"d{number}/e/f/g", line) for number in range(200)}


@pytest.mark.shells("bash")
def test_a_directory_that_is_moved_or_removed_takes_all_in_it_along(repository: Path, shell: Shell) -> None:
    does(shell, "mkdir -p a/b && echo 1 > a/b/c && echo 2 > a/d", ("added", "a/b/c"), ("added", "a/d"))
    does(shell, "mv a z", ("renamed", "z/b/c"), ("renamed", "z/d"))
    does(shell, "echo 3 >> z/b/c", ("modified", "z/b/c"))
    does(shell, "rm -r z", ("deleted", "z/b/c"), ("deleted", "z/d"))

    assert {row["data"]["attribution"] for row in edits(shell.session)} == {"command"}


@pytest.mark.shells("bash")
def test_a_long_command_s_changes_are_told_while_it_runs(repository: Path, shell: Shell) -> None:
    shell.sends("echo 1 >> api.py; read line; echo 2 >> api.py\r")

    shell.until(lambda session: len(edits(session)) == 1, "the first change is told")
    shell.presses("\r")
    shell.until(lambda session: len(edits(session)) == 2, "the second change is told")

    (command,) = shell.session.commands()
    assert [(row["parent"], row["data"]["added"]) for row in edits(shell.session)] == [(command.id, 1)] * 2


AGENT = """\
import subprocess
subprocess.run(["bash", "-c", "echo 1 > inner; sleep 0.1"])
input()
open("outer", "w").write("2")
"""


@pytest.mark.shells("bash")
def test_a_shell_inside_has_its_own_edits(repository: Path, shell: Shell) -> None:
    shell.writes("agent.py", AGENT)
    line = f"{sys.executable} ~/agent.py"
    shell.sends(line + "\r")
    shell.until(
        lambda session: any(path == "inner" for _, path, _ in told(session)), "the inner one's is told"
    )
    shell.presses("\r")
    shell.until(
        lambda session: any(path == "outer" for _, path, _ in told(session)), "the outer one's is told"
    )

    assert told(shell.session) == {
        ("added", "inner", "echo 1 > inner; sleep 0.1"),
        ("added", "outer", line),
    }
    assert {row["data"]["confidence"] for row in edits(shell.session)} == {"inside", "window"}


# --- not under any ------------------------------------------------------------------------------------------


@pytest.mark.shells("bash", "zsh")
def test_a_job_in_the_background_is_not_taken_for_the_command_before_it(
    repository: Path, shell: Shell
) -> None:
    shell.types("mkfifo go").types("(read line < go; echo 1 > late) &")
    shell.until(lambda session: [row["status"] for row in session.events("run_command")] == ["ok"] * 2)
    Path("go").write_text("\n")
    shell.hears_of_its_job()
    shell.until(lambda session: len(edits(session)) == 1)

    (edit,) = edits(shell.session)
    assert (edit["parent"], edit["data"]["attribution"], edit["actor"]) == (None, "background", "unknown")


@pytest.mark.shells("bash")
def test_what_somebody_else_changes_while_nothing_runs_is_nobody_s(repository: Path, shell: Shell) -> None:
    does(shell, "echo four >> api.py", ("modified", "api.py"))

    Path("notes/todo.txt").write_text("by an editor\n")
    shell.until(lambda session: len(edits(session)) == 2)

    last = edits(shell.session)[-1]
    assert (last["parent"], last["data"]["attribution"]) == (None, "background")


@pytest.mark.shells("bash")
def test_what_changed_between_two_sessions_is_outside_of_any(repository: Path, shell: Shell) -> None:
    does(shell, "echo four >> api.py", ("modified", "api.py"))
    shell.ends()
    Path("api.py").write_text("another\n")
    Path("late.txt").write_text("late\n")

    shell.pipe("true\n")

    second = shell.open_session()
    assert told(second) == {("modified", "api.py", None), ("added", "late.txt", None)}
    assert {row["data"]["attribution"] for row in edits(second)} == {"outside"}
    second.close()


@pytest.mark.shells("bash")
def test_what_was_there_before_the_first_session_is_nobody_s_edit(repository: Path, shell: Shell) -> None:
    Path("api.py").write_text("changed before\n")
    Path("new.txt").write_text("new before\n")
    os.utime("api.py")
    shell.types("true")
    until(lambda: [*Path(".devtrace/objects.git/refs/devtrace").glob("*")], "the state at the start is kept")
    does(shell, "echo one >> new.txt", ("modified", "new.txt"))

    assert told(shell.session) == {("modified", "new.txt", "echo one >> new.txt")}


@pytest.mark.shells("bash", "zsh")
def test_a_pasted_block_is_told_truly_or_not_at_all(repository: Path, shell: Shell) -> None:
    """Commands that follow each other within a millisecond: where it cannot be told which, all are named."""
    lines = [f"echo {number} > made-{number}" for number in range(20)]
    shell.pastes("\n".join(lines), prompts=1)
    shell.until(lambda session: len(told(session)) == 20, "all are told")

    session = shell.session
    commands = {row["id"]: row["data"]["command"] for row in session.events("run_command")}
    for row in edits(session):
        attribution = row["data"]["attribution"]
        assert attribution in ("command", "ambiguous")
        for change in row["data"]["changes"]:
            truth = f"echo {change['path'].removeprefix('made-')} > {change['path']}"
            named = row["data"]["candidates"] or [f"/{row['parent']}"]
            texts = [commands[name.rpartition("/")[2]] for name in named]
            assert any(truth in text for text in texts), (change["path"], texts)


# --- HEAD ---------------------------------------------------------------------------------------------------


@pytest.mark.shells("bash", "fish")
def test_a_command_that_moves_head_is_told_so(repository: Path, shell: Shell) -> None:
    def moves(line: str, *hows: str) -> None:
        shell.types(line)
        wanted = [(how, line) for how in hows]
        shell.until(lambda session: [move for move in heads(session) if move[1] == line] == wanted, line)

    moves("echo 4 >> api.py; git commit -qam second", "commit")
    moves("git commit -q --amend -m better", "amend")
    moves("git checkout -q -b side", "checkout")
    moves("git reset -q --hard HEAD~1", "reset")
    moves("git checkout -q -", "checkout")

    session = shell.session
    last = session.events("git_commit")[-1]["data"]
    assert (last["new"], last["branch"]) == (git("rev-parse", "HEAD"), "main")
    subjects = [row["data"]["subject"] for row in session.events("git_commit")]
    assert subjects[:2] == ["second", "better"]


def heads(session: Session) -> list[tuple[str, str | None]]:
    commands = {row["id"]: row["data"]["command"] for row in session.events("run_command")}
    return [(row["data"]["how"], commands.get(row["parent"])) for row in session.events("git_commit")]


@pytest.mark.shells("bash")
def test_a_commit_from_another_terminal_is_told_and_is_nobody_s(repository: Path, shell: Shell) -> None:
    does(shell, "echo 1 > first", ("added", "first"))
    shell.types("true")
    git("commit", "-q", "--allow-empty", "-m", "elsewhere")

    shell.until(lambda session: len(session.events("git_commit")) == 1)

    (move,) = shell.session.events("git_commit")
    assert (move["parent"], move["data"]["attribution"], move["data"]["subject"]) == (
        None,
        "background",
        "elsewhere",
    )


# --- the user's repository ----------------------------------------------------------------------------------


@pytest.mark.shells("bash")
def test_the_repository_is_left_as_it_was_but_for_one_ref(repository: Path, shell: Shell) -> None:
    Path(".git/hooks/post-index-change").write_text("#!/bin/sh\ntouch hook-ran\n")
    Path(".git/hooks/post-index-change").chmod(0o755)
    git("config", "core.fsmonitor", f"{repository}/.git/hooks/post-index-change")
    before, times = digests(repository / ".git"), modified(repository)

    does(shell, "echo 1 > made; rm made; echo 2 > kept", ("added", "kept"))
    shell.ends()

    after = digests(repository / ".git")
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == {
        name for name in after if name.startswith("refs/devtrace/")
    }
    assert modified(repository) == times
    assert not Path("hook-ran").exists()
    ref = git("for-each-ref", "refs/devtrace", "--format=%(objecttype) %(objectname)")
    assert ref == f"tree {git('rev-parse', 'HEAD^{tree}')}"


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def modified(root: Path) -> dict[str, int]:
    return {name: (root / name).stat().st_mtime_ns for name in ("api.py", "notes/todo.txt", ".gitignore")}


@pytest.mark.shells("bash")
def test_a_secret_in_a_file_reaches_no_disk_of_ours(repository: Path, shell: Shell) -> None:
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" + "k1L2m3N4o5P6q7R8"
    shell.writes("secret.txt", f"token = {secret}\n")
    shell.writes("plain", "s3cr3t-of-the-shop\n")
    does(shell, "cp ~/secret.txt settings.txt", ("added", "settings.txt"))
    does(shell, "cp ~/plain .env", ("added", ".env"))
    shell.ends()

    changes = {c["path"]: c for row in edits(shell.session) for c in row["data"]["changes"]}
    assert {path: change["withheld"] for path, change in changes.items()} == {
        "settings.txt": "secret",
        ".env": "path",
    }
    assert all(change["hmac"] for change in changes.values())
    everything = [path.read_bytes() for path in (repository / ".devtrace").rglob("*") if path.is_file()]
    objects = subprocess.run(
        "git cat-file --batch-all-objects --batch-check='%(objectname)' | git cat-file --batch",
        shell=True, cwd=repository / ".devtrace/objects.git", capture_output=True, check=True,
    ).stdout  # fmt: skip
    for kept in (*everything, objects):
        assert secret.encode() not in kept
        assert b"s3cr3t-of-the-shop" not in kept


@pytest.mark.shells("bash")
def test_a_secret_that_one_session_masked_is_masked_by_all(repository: Path, shell: Shell) -> None:
    """Whoever looks later knows less: the value was never in their environment."""
    secret = "Zq8-vT3x-Lm5w-Rk2p"
    does(shell, "echo 1 > first", ("added", "first"))
    shell.types(f"SHOP_PASSWORD={secret}")
    does(shell, "echo value $SHOP_PASSWORD > kept.txt", ("added", "kept.txt"))
    shell.types("devtrace snapshot -l here")
    does(shell, "echo more >> kept.txt; echo again $SHOP_PASSWORD > other.txt", ("modified", "kept.txt"))
    shell.ends()
    Path("later.txt").write_text(f"copied: {secret}\n")
    shell.pipe("echo end >> kept.txt\n")
    second = shell.open_session()
    assert {path for _, path, _ in told(second)} == {"kept.txt", "later.txt"}
    second.close()
    shell.devtrace("snapshot")

    objects = subprocess.run(
        "git cat-file --batch-all-objects --batch-check='%(objectname)' | git cat-file --batch",
        shell=True, cwd=repository / ".devtrace/objects.git", capture_output=True, check=True,
    ).stdout  # fmt: skip
    assert secret.encode() not in objects, [line for line in objects.splitlines() if secret.encode() in line]
    assert objects.count(b"[redacted:known-value:") >= 5


# --- other places, other times ------------------------------------------------------------------------------


@pytest.mark.shells("bash")
def test_a_directory_without_git_is_watched_too(shell: Shell) -> None:
    Path("old.txt").write_text("old\n")
    Path(".gitignore").write_text("*.log\n")
    does(shell, "echo 1 > first", ("added", "first"))  # by then all that was there has been seen
    does(shell, "echo new >> old.txt; echo x > a.log", ("modified", "old.txt"))
    does(shell, "rm old.txt", ("deleted", "old.txt"))

    assert {path for _, path, _ in told(shell.session)} == {"first", "old.txt"}


@pytest.mark.shells("bash")
def test_a_directory_with_too_many_files_is_left_alone_and_it_is_said(shell: Shell) -> None:
    for number in range(12):
        Path(f"f{number}").touch()
    shell.devtrace("init")
    shell.devtrace("config", "set", "edits.plain_files", "10")
    shell.wants_no_gaps = False
    shell.types("echo 1 > f1")

    assert edits(shell.session) == []
    (gap,) = shell.session.events("gap")
    assert gap["data"]["reason"] == "edits_unrecorded"
    assert "edits.plain_files" in gap["data"]["detail"]


@pytest.mark.shells("bash")
def test_it_can_be_switched_off(repository: Path, shell: Shell) -> None:
    shell.devtrace("init")
    shell.devtrace("config", "set", "edits.enabled", "false")
    shell.types("echo 1 > f1")

    assert edits(shell.session) == []
    assert not (repository / ".devtrace/objects.git").exists()


@pytest.mark.shells("bash")
def test_what_the_user_wants_left_out_is(repository: Path, shell: Shell) -> None:
    shell.devtrace("init")
    shell.devtrace("config", "set", "edits.ignore", "*.tmp notes/")
    shell.types("echo 1 > a.tmp; echo 2 >> notes/todo.txt")
    does(shell, "echo 3 > kept", ("added", "kept"))

    assert {path for _, path, _ in told(shell.session)} == {"kept"}


def test_a_program_under_run_is_told_with_its_edits(repository: Path, needs: Callable[..., None]) -> None:
    done = subprocess.run(
        [*DEVTRACE, "run", "--", "sh", "-c", "echo 4 >> api.py; rm notes/todo.txt"],
        env=environment(),
        check=False,
    )

    assert done.returncode == 0
    rows = recorded()
    (command,) = [row for row in rows if row["kind"] == "run_command"]
    changes = {
        (change["change"], change["path"], row["parent"])
        for row in rows
        if row["kind"] == "edit_files"
        for change in row["data"]["changes"]
    }
    assert changes == {("modified", "api.py", command["id"]), ("deleted", "notes/todo.txt", command["id"])}


def recorded() -> list[Row]:
    from contextlib import closing

    from devtrace.query.events import list_events
    from devtrace.query.filters import Filters
    from devtrace.store.connection import open_reader
    from devtrace.workspace import Workspace

    with closing(open_reader(Workspace(Path.cwd() / ".devtrace"))) as db:
        return list_events(db, Filters())


@pytest.mark.shells("bash")
def test_without_watches_the_state_is_compared_at_each_command_s_end(
    repository: Path, shell: Shell, needs: Callable[..., None]
) -> None:
    """In a user namespace of its own, whose limit of inotify watches is none."""
    limited = "echo 0 > /proc/sys/user/max_inotify_watches"
    probe = ["unshare", "--user", "--map-root-user", "sh", "-c", limited]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        needs(because="a user namespace with a limit of its own is not to be had")
    inner = " ".join(shell.command())
    shell.runs(["unshare", "--user", "--map-root-user", "sh", "-c", f"{limited}; exec {inner}"])
    does(shell, "echo four >> api.py", ("modified", "api.py"))
    does(shell, "mkdir -p x/y && echo 1 > x/y/z", ("added", "x/y/z"))
    does(shell, "rm api.py", ("deleted", "api.py"))

    choices = {one["what"]: one for one in shell.session.row["meta"]["choices"]}
    assert "limit" in choices["watch"]["because"]
    assert "max_user_watches" in choices["watch"]["because"]


@pytest.mark.shells("bash")
def test_two_sessions_in_one_tree_tell_each_change_once(repository: Path, shell: Shell) -> None:
    shell.types("true")
    other = subprocess.Popen(
        [*shell.command("--label", "other")], env=shell.env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert other.stdin is not None
    try:
        for number in range(4):
            other.stdin.write(f"echo {number} > theirs-{number}; sleep 0.05\n")
            other.stdin.flush()
            shell.types(f"echo {number} > ours-{number}; sleep 0.05")
        other.stdin.close()
        assert other.wait(30) == 0
    finally:
        other.kill()
        other.wait()
    shell.ends()

    rows = until(lambda: complete(recorded()), "all eight files are told")
    texts = {row["id"]: row["data"]["command"] for row in rows if row["kind"] == "run_command"}
    paths = []
    for row in (row for row in rows if row["kind"] == "edit_files"):
        named = row["data"]["candidates"] or [row["parent"] or ""]
        for change in row["data"]["changes"]:
            paths.append(change["path"])
            assert any(change["path"] in texts.get(name.rpartition("/")[2], "") for name in named), row
    assert sorted(paths) == sorted(f"{who}-{number}" for who in ("ours", "theirs") for number in range(4))


def complete(rows: list[Row]) -> list[Row]:
    changes = [change for row in rows if row["kind"] == "edit_files" for change in row["data"]["changes"]]
    return rows if len(changes) >= 8 else []
