"""`devtrace diff`: what git takes, what a person reads, what a pager gets."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from contextlib import closing

import pytest

from devtrace.store.connection import open_store
from tests.edits import Recorded, begun
from tests.processes import environment
from tests.terminals import Terminal

pytestmark = pytest.mark.needs("git")


@pytest.fixture
def repo(tmp_path):
    return tmp_path / "repo"


@pytest.fixture
def place(repo):
    return begun(repo, kept="one\n", src__b="b\n")


@pytest.fixture
def edited(place):
    """A command that changed kept.py and added src/a.py."""
    place.write("kept.py", "two\n")
    place.write("src/a.py", "a\n")
    return place.command("make edits")


PATCH = (
    "diff --git a/kept.py b/kept.py\nindex 5626abf..f719efd 100644\n--- a/kept.py\n+++ b/kept.py\n"
    "@@ -1 +1 @@\n-one\n+two\n"
    "diff --git a/src/a.py b/src/a.py\nnew file mode 100644\nindex 0000000..7898192\n--- /dev/null\n"
    "+++ b/src/a.py\n@@ -0,0 +1 @@\n+a\n"
)


ODD = ("ä", "b", '"q', "x\ty")


def names(told):
    return [line.split(" b/")[1] for line in told.out.splitlines() if line.startswith("diff --git")]


def test_a_command_an_edit_and_a_session_are_shown_as_a_patch(run, place, edited):
    (edit,) = place.rows()

    for words in (
        [edited.id],
        [edited.id[:8]],
        [edit["id"]],
        [],
        [place.session],
        ["--session", place.session[:12]],
    ):
        told = run("diff", *words)
        assert (told.status, told.err, told.out) == (0, "", PATCH)


def test_paths_are_seen_from_where_one_is(run, repo, edited):
    assert names(run("diff", edited.id, "a.py", cwd=repo / "src")) == ["src/a.py"]
    assert names(run("diff", edited.id, ".", cwd=repo / "src")) == ["src/a.py"]
    assert names(run("diff", edited.id, "..", cwd=repo / "src")) == ["kept.py", "src/a.py"]
    assert names(run("diff", "kept.py")) == ["kept.py"]
    assert names(run("diff", "--", "src")) == ["src/a.py"]
    assert names(run("diff", edited.id, "--", "src", "kept.py")) == ["kept.py", "src/a.py"]


def test_behind_two_dashes_every_word_is_a_path(run, place):
    place.write("beef", "1\n")
    event = place.command()

    assert names(run("diff", "--", "beef")) == ["beef"]
    assert names(run("diff", event.id, "--", "beef")) == ["beef"]
    assert run("diff", "--", event.id).err == f"Nothing changed there: {event.id}\n"


def test_a_short_word_that_is_there_is_a_path(run, place):
    place.write("a", "1\n")
    place.command()

    assert names(run("diff", "a")) == ["a"]


def test_a_word_that_is_neither_an_id_nor_there_says_how_to_name_a_path(run, repo, place, edited):
    told = run("diff", "Makefile")

    assert "put a `--` before a path that is gone" in told.err
    assert run("diff", "gone.py").err == "Nothing changed there: gone.py\n"


def test_what_runs_has_changed_something_so_far(run, place):
    place.write("x", "1\n")
    command = place.command("npm run dev")
    columns = "session, id, parent, kind, actor, started_us, recorded_us, title, cwd, source, trusted, data"
    with closing(open_store(place.workspace)) as db:
        copied = f"INSERT INTO running ({columns}) SELECT {columns} FROM events WHERE id = ?"
        db.execute(copied, (command.id,))
        db.execute("DELETE FROM events WHERE id = ?", (command.id,))

    assert names(run("diff", command.id)) == ["x"]


def test_a_change_that_may_be_of_it_is_mentioned(run, place):
    other = place.command("npm run dev")
    place.write("x", "1\n")
    command = place.command("make")
    (edit,) = place.rows()
    candidates = [f"{place.session}/{other.id}", f"{place.session}/{command.id}"]
    data = edit["data"] | {"attribution": "ambiguous", "confidence": "none", "candidates": candidates}
    with closing(open_store(place.workspace)) as db:
        db.execute("UPDATE events SET parent = NULL, data = ? WHERE id = ?", (json.dumps(data), edit["id"]))

    told = run("diff", command.id)

    assert (told.status, told.out) == (0, "")
    assert f"1 more change may be of this command: devtrace show {edit['id'][:4]}" in told.err
    assert names(run("diff", edit["id"])) == ["x"]
    assert f"could be any of: {other.id[:10]}, {command.id[:10]}" in run("show", edit["id"]).out


def test_where_nothing_changed_is_said_and_no_error(run, place, edited):
    told = run("diff", edited.id, "src/b.py", "nowhere")

    assert (told.status, told.out, told.err) == (0, "", "Nothing changed there: src/b.py, nowhere\n")


def test_a_command_without_edits_is_no_error(run, place):
    told = run("diff", place.command("ls").id)

    assert (told.status, told.out) == (0, "")
    assert told.err == "This command changed no file that is recorded.\n"


def test_what_was_taken_back_is_said(run, repo, place):
    place.write("x", "1\n")
    place.command()
    (repo / "x").unlink()
    place.command()

    assert run("diff").err == "Nothing is left of what this session changed: it was taken back.\n"


@pytest.mark.parametrize("words", [("zz",), ("f" * 16,), ("f" * 16 + "..",)])
def test_an_unknown_event_is_status_2(run, edited, words):
    told = run("diff", *words)

    assert (told.status, told.out, "[ERR_ID_UNKNOWN]" in told.err) == (2, "", True)


def test_a_range_is_all_between_two_states(run, place, edited):
    place.write("kept.py", "three\n")
    later = place.command()

    assert names(run("diff", f"{edited.id}..{later.id}")) == ["kept.py"]
    assert names(run("diff", f"{edited.id}..")) == ["kept.py"]
    assert names(run("diff", f"..{edited.id}")) == ["kept.py", "src/a.py"]
    assert names(run("diff", f"..{later.id}", "src")) == ["src/a.py"]
    assert run("diff", f"{later.id}..{later.id}").err == "Nothing differs between the two.\n"


def test_a_store_without_edits_has_nothing_to_show(run, place):
    told = run("diff")

    assert (told.status, told.out) == (0, "")
    assert "This session changed no file that is recorded." in told.err


def test_counts(run, edited):
    assert run("diff", "--stat").out == (
        " kept.py  | 2 +-\n src/a.py | 1 +\n 2 files changed, 2 insertions(+), 1 deletion(-)\n"
    )


def test_context_is_as_long_as_asked(run, place):
    place.write("src/b.py", "1\n2\n3\nb\n4\n5\n")
    place.command()
    place.write("src/b.py", "1\n2\n3\nc\n4\n5\n")
    event = place.command()

    assert "@@ -4 +4 @@" in run("diff", event.id, "-U0").out
    assert run("diff", event.id, "-U", "1").out.count("\n ") == 2


def test_a_record_for_machines(run, place, edited):
    kept, added = run("diff", edited.id, "--json").records
    (edit,) = place.rows()

    assert (kept["record"], kept["path"], kept["change"]) == ("file", "kept.py", "modified")
    assert (kept["added"], kept["deleted"], kept["binary"], kept["withheld"]) == (1, 1, False, None)
    assert kept["events"] == [f"{place.session}/{edit['id']}"]
    assert kept["patch"] + added["patch"] == PATCH
    assert (added["old_oid"], added["new_mode"]) == (None, 0o100644)


def test_a_record_has_the_fields_that_are_documented(run, edited):
    from devtrace.views.jsonl import FIELDS

    assert all(list(made) == list(FIELDS["file"][1]) for made in run("diff", "--json").records)


def test_what_is_withheld_is_said_beside_the_patch(run, place):
    place.write(".env", "TOKEN=hunter2hunter2\n")
    told = run("diff", place.command().id)

    assert told.err == "(the content of .env is withheld: path rule)\n"
    assert "hunter2" not in told.out
    assert names(told) == [".env"]


def test_a_content_that_is_gone_does_not_hide_the_rest(run, place, edited):
    (kept, _) = place.rows()[0]["data"]["changes"]
    oid = kept["new_oid"]
    (place.workspace.dir / "objects.git" / "objects" / oid[:2] / oid[2:]).unlink()

    told = run("diff")

    assert (told.status, told.err) == (0, "(the content of kept.py is no longer kept)\n")
    assert names(told) == ["kept.py", "src/a.py"]
    assert "+a\n" in told.out
    assert "no longer kept" in run("diff", "--stat").out


@pytest.mark.parametrize("binary", [False, True])
def test_git_applies_the_patch_of_random_edits_forwards_and_backwards(run, repo, tmp_path, binary):
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    place = Recorded(repo)
    for number in range(12):
        scribble(place, chance, f"dir {number % 3}/file{number}", binary=binary)
    place.git("add", ".")
    place.git("commit", "-qm", "start")
    place.begin()
    before = snapshot(repo)
    for _ in range(chance.randrange(1, 5)):
        edit_at_random(place, chance, binary=binary)
        place.command()
    after = snapshot(repo)
    patch = subprocess.run(
        [sys.executable, "-m", "devtrace", "diff", *(["--binary"] if binary else [])],
        cwd=repo, env=environment(), capture_output=True, check=True,
    ).stdout  # fmt: skip

    for direction, files in (("-R", before), ("-p1", after)):
        if patch:
            done = subprocess.run(
                ["git", "apply", "--whitespace=nowarn", direction],
                cwd=repo,
                input=patch,
                capture_output=True,
                check=False,
            )
            assert (done.returncode, done.stderr) == (0, b""), f"seed {seed}"
        assert snapshot(repo) == files, f"seed {seed}"


def scribble(place, chance, path, *, binary):
    words = ["def f():", "    x = 1", "", "é", "tail \t", "\x0c", "a\rb"]
    text = "\n".join(chance.choice(words) for _ in range(chance.randrange(30))) + chance.choice(("", "\n"))
    place.write(path, text + ("\0" if binary and chance.random() < 0.4 else ""))


def edit_at_random(place, chance, *, binary):
    files = sorted(path for path in snapshot(place.root) if not path.startswith("new link"))
    for number in range(6):
        path = place.root / chance.choice(files)
        action = chance.randrange(7)
        name = f"new {number} {chance.choice(ODD)}{chance.randrange(99)}"
        if action == 0:
            path.unlink(missing_ok=True)
        elif action == 1 and path.exists():
            path.rename(place.root / name)
        elif action == 2:
            scribble(place, chance, name, binary=binary)
        elif action == 3 and path.exists() and not path.is_symlink():
            path.chmod(chance.choice((0o644, 0o755)))
        elif action == 4 and not (place.root / f"new link{number}").is_symlink():
            (place.root / f"new link{number}").symlink_to(name)
        elif path.exists() and not path.is_symlink():
            lines = path.read_bytes().splitlines(keepends=True)
            lines[chance.randrange(len(lines) + 1) :][:1] = []
            lines.insert(chance.randrange(len(lines) + 1), b"inserted\n")
            path.write_bytes(b"".join(lines))


def snapshot(root):
    """Everything that git would see, with its content and mode."""
    found = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in (".git", ".devtrace")]
        for path in (os.path.join(folder, name) for name in files):
            relative = os.path.relpath(path, root)
            if os.path.islink(path):
                found[relative] = os.readlink(path)
            else:
                with open(path, "rb") as file:
                    found[relative] = (file.read(), os.stat(path).st_mode & 0o100)
    return found


# --- on a terminal ------------------------------------------------------------------------------------------


def on_terminal(repo, *words, **env):
    """What a terminal of 60 columns gets."""
    with Terminal(
        [sys.executable, "-m", "devtrace", *words],
        env={"LESS": "FRX", **environment(COLUMNS="60", TERM="xterm-256color"), **env}, cwd=repo, cols=60,
    ) as terminal:  # fmt: skip
        assert terminal.wait_exit() == 0
        return terminal.shown.decode().replace("\r\n", "\n")


def test_a_terminal_gets_colours(repo, edited):
    shown = on_terminal(repo, "diff", "--no-pager")

    assert "\x1b[32m+two\x1b[0m" in shown
    assert "\x1b[31m-one\x1b[0m" in shown


def test_the_pager_is_devtraces_own_then_gits(repo, place, edited):
    for number, (env, setting) in enumerate(
        [
            ({"DEVTRACE_PAGER": "sed s/^/1:/", "GIT_PAGER": "false"}, None),
            ({"GIT_PAGER": "sed s/^/2:/", "PAGER": "false"}, "false"),
            ({"PAGER": "false"}, "sed s/^/3:/"),
        ],
        1,
    ):
        if setting:
            place.git("config", "core.pager", setting)
        assert f"{number}:" in on_terminal(repo, "diff", **env)


@pytest.mark.parametrize(
    "pager", ["", "cat", "no-such-pager-here", "no-such-pager-here | cat && false", "   "]
)
def test_without_a_pager_that_starts_it_is_written_as_it_is(repo, edited, pager):
    assert "+two" in on_terminal(repo, "diff", DEVTRACE_PAGER=pager)


def test_a_pager_that_is_left_early_is_no_error(repo, place):
    place.write("long", "x" * 100 + "\n" + "line\n" * 50_000)
    place.command()

    assert "Traceback" not in on_terminal(repo, "diff", DEVTRACE_PAGER="head -n 3")
    assert "error" not in on_terminal(repo, "diff", DEVTRACE_PAGER="true")


def test_the_pager_is_told_to_leave_short_answers_alone(repo, edited):
    shown = on_terminal(repo, "diff", DEVTRACE_PAGER="cat >/dev/null; echo $LESS $LV")

    assert shown.endswith("FRX -c\n")


# A pager that waits for Ctrl-C, and only then reads.
PATIENT = """
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
print("ready", flush=True)
signal.sigwait([signal.SIGINT])
print(len(sys.stdin.readlines()), "lines", flush=True)
"""


def test_ctrl_c_is_the_pagers_own(repo, tmp_path, place):
    place.write("long", "".join(f"line {number}\n" for number in range(20_000)))
    place.command()
    (tmp_path / "pager.py").write_text(PATIENT)
    env = environment(DEVTRACE_PAGER=f"{sys.executable} {tmp_path / 'pager.py'}")

    with Terminal([sys.executable, "-m", "devtrace", "diff"], cwd=repo, env=env) as terminal:
        terminal.wait_for("ready")
        terminal.send("\x03")
        terminal.wait_for("20006 lines")
        assert terminal.wait_exit() == 0
        assert "Traceback" not in terminal.text


def test_a_reader_that_goes_away_is_no_error(repo, place):
    place.write("long", "".join(f"line {number}\n" for number in range(50_000)))
    place.command()
    process = subprocess.Popen(
        [sys.executable, "-m", "devtrace", "diff"], cwd=repo, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    process.stdout.read(10)
    process.stdout.close()

    assert (process.wait(30), process.stderr.read()) == (0, b"")
    process.stderr.close()


def test_no_pager_in_a_pipe(run, edited):
    assert run("diff", env={"DEVTRACE_PAGER": "echo paged"}).out == PATCH


def test_counts_fit_the_terminal(repo, place):
    place.write("a/rather/long/path/" + "x" * 60, "1\n" * 500)
    place.command()

    shown = on_terminal(repo, "diff", "--stat", "--no-pager")
    assert max(map(len, shown.replace("\x1b[32m", "").replace("\x1b[0m", "").splitlines())) <= 60


def test_a_terminal_is_told_what_is_withheld(repo, place):
    place.write(".env", "TOKEN=hunter2hunter2\n")
    place.command()

    assert "(the content of .env is withheld: path rule)" in on_terminal(repo, "diff", "--no-pager")


# --- in `show` ----------------------------------------------------------------------------------------------


def test_show_opens_the_edits_of_a_session(run, place, edited):
    told = run("show", "--diff")

    assert told.status == 0
    assert "make edits" in told.out
    assert "-one\n+two\n" in told.out


def test_show_opens_what_an_event_changed(run, place, edited):
    (edit,) = place.rows()

    for identity in (edited.id, edit["id"]):
        told = run("show", identity, "--diff")
        assert told.out.startswith("event ")
        assert "-one\n+two\n" in told.out


def test_the_files_of_an_edit_stand_below_its_row(run, place, edited):
    told = run("show")

    assert "+1 -1 kept.py" in told.out
    assert "+1 -0 added src/a.py" in told.out


@pytest.mark.unmeasured
def test_a_small_diff_is_quick(repo, place, edited):
    took = []
    for _ in range(3):
        begun = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "devtrace", "diff", edited.id], cwd=repo, env=environment(), check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        took.append(time.monotonic() - begun)

    assert min(took) < 2, took  # 200 ms on a quiet machine
