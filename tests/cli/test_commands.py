"""init, sessions, note, stats, config, doctor as processes."""

from __future__ import annotations

import json
import os
import stat

import pytest

from devtrace.config import KEYS
from devtrace.store.connection import open_reader
from devtrace.store.spool import SpoolWriter
from devtrace.workspace import Workspace
from tests.recorded import Recorded
from tests.store.frames import frame


def test_init_makes_the_store_in_the_repositorys_root_and_says_the_next_step(run, repo):
    (repo / "src").mkdir()

    told = run("init", cwd=repo / "src")

    assert (told.status, told.err) == (0, "")
    assert told.out == (
        f"Made the store {repo}/.devtrace\n"
        "Git does not see it: its .gitignore covers everything in it.\n"
        "Start recording with: devtrace shell --agent manual\n"
    )
    assert (repo / ".devtrace" / ".gitignore").read_text() == "*\n"
    assert stat.S_IMODE((repo / ".devtrace").stat().st_mode) == 0o700
    assert stat.S_IMODE((repo / ".devtrace" / "devtrace.db").stat().st_mode) == 0o600


def test_init_again_changes_nothing(run, repo, recorded):
    recorded.session()
    recorded.command("kept")
    (recorded.workspace.config).write_text("# mine\n[shell]\noutput = false\n")
    salt = recorded.workspace.salt.read_bytes()

    told = run("init")

    assert told.out.startswith("The store was there already: ")
    assert recorded.workspace.salt.read_bytes() == salt
    assert recorded.workspace.config.read_text() == "# mine\n[shell]\noutput = false\n"
    assert "kept" in run("log").out


def test_init_completes_a_store_that_lost_its_database(run, repo, recorded):
    recorded.close()
    for path in repo.glob(".devtrace/devtrace.db*"):
        path.unlink()

    assert run("init").status == 0
    assert run("sessions").status == 0


def test_init_outside_a_repository_says_what_is_missing(run, tmp_path):
    (tmp_path / "plain").mkdir()

    told = run("init", cwd=tmp_path / "plain")

    assert "No git repository" in told.out
    assert (tmp_path / "plain" / ".devtrace").is_dir()


def test_a_store_is_listed_only_when_asked(run, repo):
    run("init")
    assert "No store is registered" in run("stats", "--global").err

    told = run("init", "--register")

    assert "It is listed in ~/.devtrace/" in told.out
    assert run("init").out.count("It is listed") == 1
    assert run("stats", "--global").err == ""
    assert run("config", "get", "registry.enabled").out == "true\n"


def test_sessions_are_listed_the_newest_first(run, recorded):
    recorded.session(0, agent="codex", took=60, title="first")
    recorded.session(100, took=60, title="second")

    told = run("sessions")

    assert told.status == 0
    assert told.out.index("second") < told.out.index("first")
    assert [row["title"] for row in run("sessions", "--json").records] == ["second", "first"]
    assert [row["title"] for row in run("sessions", "--json", "--agent", "codex").records] == ["first"]
    assert [row["title"] for row in run("sessions", "--json", "--limit", "1").records] == ["second"]
    assert run("sessions", "--kind", "run").err.startswith("No session fits.")
    assert run("sessions", "--kind", "run", "--json").out == ""


def test_a_note_goes_into_the_latest_session(run, recorded):
    recorded.session(0, took=5)
    session = recorded.session(10, took=5)

    told = run("note", "the", "test was flaky")

    assert told.out == f"Noted in session {session[:8]}.\nSee it with: devtrace show {session[:8]}\n" or (
        told.out.startswith(f"Noted in session {session[:8]}")
    )
    (note,) = run("log", "--kind", "note", "--json").records
    assert (note["session"], note["title"], note["source"]) == (session, "the test was flaky", "cli")
    assert note["data"]["cwd"] == str(recorded.workspace.root)


def test_a_note_goes_into_the_traced_shell_it_is_written_in(run, recorded):
    inside = recorded.session(0, agent="codex")
    command = recorded.command("devtrace note x", took=None)
    recorded.session(10)
    env = {"DEVTRACE_SESSION": inside, "DEVTRACE_SPAN": command, "DEVTRACE_AGENT": "codex"}

    run("note", "from inside", env=env)

    (note,) = run("log", "--kind", "note", "--json").records
    assert (note["session"], note["parent"], note["actor"]) == (inside, command, "agent:codex")


def test_a_note_can_name_its_session(run, recorded):
    first = recorded.session(0, id="aa" + "0" * 30, took=1)
    recorded.session(10, took=1)

    run("note", "--session", "aa", "later")

    assert [row["session"] for row in run("log", "--kind", "note", "--json").records] == [first]


def test_a_note_may_come_by_stdin(run, recorded):
    recorded.session(took=1)

    run("note", "-", stdin="one\ntwo\n")

    assert [row["data"]["text"] for row in run("log", "--kind", "note", "--json").records] == ["one\ntwo"]


def test_a_note_is_redacted_like_everything(run, recorded):
    recorded.session(took=1)

    run("note", "use https://ana:swordfish@example.org", env={"SHOP_TOKEN": "hunter2-hunter2"})
    run("note", "it was hunter2-hunter2", env={"SHOP_TOKEN": "hunter2-hunter2"})

    recorded.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    stored = recorded.workspace.database.read_bytes()
    assert b"swordfish" not in stored
    assert b"hunter2" not in stored
    assert b"[redacted:" in stored


@pytest.mark.parametrize("words", [("note", " "), ("note", "-")])
def test_an_empty_note_is_refused(run, recorded, words):
    recorded.session()

    told = run(*words)

    assert (told.status, "[ERR_USAGE]" in told.err) == (2, True)


def test_a_note_needs_a_session(run, recorded):
    assert "[ERR_NO_SESSION]" in run("note", "hello").err


def test_stats_for_machines(run, recorded):
    recorded.session(agent="codex")
    recorded.command("git push", 0, 2, exit_code=1)
    recorded.command("git push", 3, 2)
    recorded.command("ls", 5, 1)

    totals, first, second, agent = run("stats", "--json").records

    assert (totals["record"], totals["commands"], totals["failed"], totals["time_us"]) == (
        "totals",
        3,
        1,
        5_000_000,
    )
    assert (first["command"], first["commands"], second["command"]) == ("git push", 2, "ls")
    assert (agent["record"], agent["agent"], agent["commands"]) == ("agent", "codex", 3)
    assert len(run("stats", "--json", "--limit", "1").records) == 3


def test_stats_of_all_registered_stores_count_together(run, recorded, tmp_path):
    recorded.session()
    recorded.command("ls")
    run("init", "--register")
    (tmp_path / "other" / ".git").mkdir(parents=True)
    other = Recorded(tmp_path / "other")
    other.session(agent="codex")
    other.command("make", exit_code=2)
    run("init", "--register", cwd=tmp_path / "other")

    totals, *rows = run("stats", "--global", "--json", cwd=tmp_path).records

    assert (totals["commands"], totals["failed"], totals["sessions"]) == (2, 1, 2)
    assert totals["stores"] == [str(recorded.workspace.dir), str(other.workspace.dir)]
    assert {row.get("agent") for row in rows if row["record"] == "agent"} == {"manual", "codex"}
    other.close()


def test_a_registered_store_that_is_broken_is_named_and_left_out(run, recorded):
    run("init", "--register")
    recorded.close()
    recorded.workspace.database.write_bytes(b"no database" * 100)

    told = run("stats", "--global")

    assert told.status == 0
    assert f"Left out {recorded.workspace.dir}" in told.err


def test_config_gets_sets_and_lists(run, recorded):
    assert run("config", "get", "shell.output").out == "true\n"

    told = run("config", "set", "shell.output", "off")

    assert told.out.startswith("Set shell.output to false")
    assert run("config", "get", "shell.output").out == "false\n"
    rows = run("config", "list", "--json").records
    assert [row["key"] for row in rows] == list(KEYS)
    assert {row["key"] for row in rows if row["set"]} == {"shell.output"}
    assert json.loads((recorded.workspace.run / "config.json").read_text())["shell.output"] is False


def test_config_keeps_comments_and_order(run, recorded):
    recorded.workspace.config.write_text(
        "# why\n[follow]  # often\npoll_ms = 5\n\n[shell]\noutput = true # yes\n"
    )

    run("config", "set", "shell.output", "false")
    run("config", "set", "shell.nested", "all")

    assert recorded.workspace.config.read_text() == (
        '# why\n[follow]  # often\npoll_ms = 5\n\n[shell]\noutput = false # yes\nnested = "all"\n'
    )
    assert stat.S_IMODE(recorded.workspace.config.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("get", "shell.ouput"), "ERR_CONFIG_KEY"),
        (("set", "nope", "1"), "ERR_CONFIG_KEY"),
        (("set", "shell.output", "maybe"), "ERR_CONFIG_VALUE"),
        (("set", "shell.output_head", "-1"), "ERR_USAGE"),
    ],
)
def test_config_refuses_what_does_not_fit(run, recorded, words, code):
    told = run("config", *words)

    assert (told.status, f"[{code}]" in told.err) == (2, True)
    assert not recorded.workspace.config.exists()


def test_a_broken_settings_file_is_reported_and_never_overwritten(run, recorded):
    recorded.workspace.config.write_text("[shell\n")

    told = run("config", "set", "shell.output", "false")

    assert "[ERR_CONFIG_VALUE]" in told.err
    assert recorded.workspace.config.read_text() == "[shell\n"


def test_doctor_explains_shells_store_and_settings(run, recorded):
    recorded.session(meta={"choices": [{"what": "marks", "chosen": "in PS0", "because": "it is bash"}]})
    recorded.gap("no_hooks")
    recorded.workspace.config.write_text("[shell]\nexact = true\n")

    told = run("doctor", env={"DEVTRACE_AGENT": "codex"})

    assert told.status == 0
    findings = run("doctor", "--json").records
    by_section = {finding["section"] for finding in findings}
    told_of = {"platform", "shells", "probes", "store", "sessions", "settings", "environment"}
    assert by_section == told_of
    assert "sys.monitoring" in next(one["because"] for one in findings if one["section"] == "probes")
    for text in ("PS0", "quick_check", "in PS0", "it is bash", "no_hooks", "shell.exact", "DEVTRACE_AGENT"):
        assert text in told.out


def test_one_of_a_thing_is_said_in_the_singular(run, recorded):
    recorded.session(took=1)
    event = recorded.command("make")
    (recorded.workspace.spool / "unfit").mkdir()
    (recorded.workspace.spool / "unfit" / "0.spool").touch()

    doctor = run("doctor").out
    export = run("export", event, "--format", "jsonl", "-o", "out.jsonl").out

    assert "1 event in 1 session\n" in doctor
    assert "1 file in " in doctor
    assert "Wrote 1 line to out.jsonl" in export
    assert "1 command in 1 session," in run("stats").out


def test_a_file_of_the_spool_that_cannot_be_read_is_named_and_costs_no_other(run, recorded):
    session = recorded.session()
    (recorded.workspace.spool / "0.spool").mkdir()
    writer = SpoolWriter(recorded.workspace.spool)
    writer.write(frame("make", session))

    told = run("doctor")

    assert "0.spool cannot be read" in told.out
    assert "Is a directory; each drain tries it again, and passes it over" in told.out
    assert "1 file waits" in told.out
    assert told.status == 1
    assert "make" in run("show").out
    writer.close()


def test_doctor_works_without_a_store(run, tmp_path):
    told = run("doctor", cwd=tmp_path)

    assert told.status == 0
    assert "devtrace init" in told.out


def test_doctor_works_without_any_shell_or_git(run, repo):
    told = run("doctor", env={"PATH": "/nonexistent", "SHELL": "/nonexistent/sh"})

    assert told.status == 0
    assert told.out.count("not found") >= 4


def test_doctor_names_what_is_broken_and_ends_with_1(run, recorded):
    recorded.close()
    recorded.workspace.database.write_bytes(b"no database" * 1000)

    told = run("doctor")

    assert told.status == 1
    assert "ERR_STORE_DAMAGED" in told.out


def test_doctor_sees_broken_settings_and_open_doors(run, recorded):
    recorded.workspace.config.write_text("[shell]\nbogus = 1\n")
    os.chmod(recorded.workspace.dir, 0o755)

    told = run("doctor")

    assert told.status == 1
    assert "ERR_CONFIG_KEY" in told.out
    assert "0o755" in told.out


def test_reading_leaves_the_store_readable_by_others_in_the_meantime(run, recorded):
    recorded.session()
    reader = open_reader(Workspace(recorded.workspace.dir))
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM events").fetchone()

    assert run("show").status == 0
    reader.close()


def test_a_store_that_somebody_is_writing_is_read_at_once(run, recorded):
    recorded.session()
    recorded.command("ls", took=None)
    recorded.db.execute("BEGIN IMMEDIATE")
    recorded.db.execute("UPDATE sessions SET title = 'half'")

    told = run("show")

    recorded.db.execute("ROLLBACK")
    assert told.status == 0
    assert "half" not in told.out


@pytest.mark.parametrize(
    "words", [["--limit", "9" * 20], ["--since", "99999999w"], ["--since", "999999999d", "--limit", "9" * 30]]
)
@pytest.mark.parametrize("command", ["sessions", "show", "log"])
def test_a_number_beyond_all_bounds_means_everything(run, recorded, command, words):
    recorded.session(took=1)
    recorded.command("make")

    told = run(command, *words)

    assert (told.status, told.err) == (0, "")
    assert ("make" if command != "sessions" else "bash") in told.out


def test_a_list_of_nothing_is_said(run, recorded):
    assert run("log").err == "No event fits. Record some with: devtrace shell --agent manual\n"
    assert (run("log", "--json").err, run("log", "--json").out) == ("", "")

    recorded.session(took=1)
    recorded.command("true")

    assert run("show", "--output").err == "No command of the session that fits kept terminal output.\n"
