"""The other lists: sessions, stats, log, doctor, settings, JSON lines."""

from __future__ import annotations

import json

import pytest

from devtrace.events import KINDS
from devtrace.events.envelope import STATUSES
from devtrace.query import events, sessions
from devtrace.services.doctor import Finding
from devtrace.views import jsonl
from devtrace.views.doctor import doctor_lines
from devtrace.views.log import LogView
from devtrace.views.sessions import session_lines
from devtrace.views.settings import setting_lines
from devtrace.views.stats import stats_lines

DAY = "2026-11-21"


def test_sessions_stand_in_columns_with_their_ids_last(session_row, look, painted):
    rows = [
        session_row(status="active", ended_us=None, title="fix login", n_events=1204, n_failed=0),
        session_row(
            id="019aa6d0ffff", status="interrupted", ended_us=None, agent="manual", branch=None, n_failed=3
        ),
        session_row(id="019aa6c0ffff", parent_session="019aa6d0ffff", shell="zsh"),
    ]
    lines = session_lines(rows, {row["id"]: row["id"][:8] for row in rows}, look(110))

    assert [line.replace(DAY, "") for line in painted(lines, 110).splitlines()] == [
        "started                took          agent        shell  where                   events  failed  id",
        " 14:03:12  33m20s  ▶       claude-code  bash   api on main  fix login   1,204          019aa6e0",
        " 14:03:12       ?  ! lost  manual       bash   api                          3       3  019aa6d0",
        " 14:03:12  22m28s          claude-code  zsh    api on main  (nested)        3       1  019aa6c0",
    ]


def test_no_sessions_make_no_heading(look):
    assert session_lines([], {}, look()) == []


def test_a_narrow_list_of_sessions_keeps_the_ids(session_row, look, painted):
    lines = session_lines([session_row(title="x" * 99)], {session_row()["id"]: "019aa6e0"}, look(60))

    assert max(map(len, painted(lines, 60).splitlines())) <= 60
    assert painted(lines, 60).splitlines()[1].endswith("019aa6e0")


STATS = {
    "commands": 1204, "nested": 212, "failed": 87, "stopped": 1, "interrupted": 3,
    "time_us": 7_500_000_000, "sessions": 14,
    "top": [
        {"command": "pytest", "commands": 120, "failed": 14, "time_us": 1_330_000_000},
        {"command": "git push\x1b", "commands": 3, "failed": 0, "time_us": 4_000_000},
    ],
    "agents": [
        {"agent": "claude-code", "commands": 1000, "nested": 212, "failed": 80, "interrupted": 3,
         "time_us": 7_400_000_000, "sessions": 10},
        {"agent": "", "commands": 204, "nested": 0, "failed": 7, "interrupted": 0, "time_us": 100_000_000,
         "sessions": 4},
    ],
}  # fmt: skip


def test_stats_are_a_sentence_and_two_tables(painted):
    assert painted(stats_lines(STATS, 80, top=10), 80) == (
        "1,204 commands in 14 sessions, 87 failed, 1 stopped, 3 interrupted, 212 nested,"
        " 2h05m at the prompt\n"
        "\n"
        "command     times  failed    time\n"
        "pytest        120      14  22m10s\n"
        "git push\\e      3            4.0s\n"
        "\n"
        "agent        commands  failed   time  nested  sessions\n"
        "claude-code     1,000      80  2h03m     212        10\n"
        "-                 204       7  1m40s       0         4\n"
    )


def test_programs_beyond_the_top_are_counted(painted):
    assert "... and 1 more program" in painted(stats_lines(STATS, 80, top=1), 80)


def test_stats_of_nothing_are_a_sentence(painted):
    empty = STATS | {
        "commands": 0,
        "sessions": 0,
        "failed": 0,
        "stopped": 0,
        "interrupted": 0,
        "nested": 0,
        "top": [],
        "agents": [],
    }

    assert (
        painted(stats_lines(empty | {"time_us": 0}, 80, top=3), 80)
        == "0 commands in 0 sessions, <1ms at the prompt\n"
    )


@pytest.fixture
def log(session_row, look, painted):
    view = LogView("Sat 21 Nov 2026")

    def show(*rows, width=80):
        known = {session_row()["id"]: session_row()}
        return painted(
            view.lines(rows, known, {row["id"]: row["id"][:4] for row in rows}, look(width)), width
        )

    return show


def test_a_start_and_an_end_are_a_line_each_in_the_same_columns(log, command_row):
    starts = command_row("npm test", 1, None, status="running", exit_code=None)
    ends = command_row("npm test", 1, 62, status="failed")

    assert log(starts) == "14:03:13  claude-code          ▶       npm test" + " " * 29 + "1111\n"
    assert log(ends) == "14:04:15  claude-code   1m02s  ✗ 1     npm test" + " " * 29 + "2222\n"


def test_the_log_says_when_a_day_begins_and_says_it_once(log, command_row):
    assert log(command_row("a", 3600 * 10)).startswith("Sun 22 Nov 2026\n")
    assert "2026" not in log(command_row("b", 3600 * 11))


def test_an_event_of_a_session_nobody_knows_yet_is_shown_by_its_actor(log, command_row):
    assert "agent:codex" in log(command_row("ls", session="f" * 32, actor="agent:codex"))


def test_doctor_says_what_and_why_section_by_section(painted):
    findings = [
        Finding("shells", "bash 5.2", "PS0 with one fork", "${ ...; } arrived in bash 5.3"),
        Finding("shells", "fish", "not found", "", "note"),
        Finding("store", "quick_check", "row 3 missing\x1b", "", "problem"),
    ]

    assert painted(doctor_lines([finding._asdict() for finding in findings])) == (
        "shells\n"
        "  bash 5.2          PS0 with one fork\n"
        "                    ${ ...; } arrived in bash 5.3\n"
        "  fish              not found\n"
        "\n"
        "store\n"
        "  quick_check       row 3 missing\\e\n"
    )


def test_settings_show_value_and_meaning(painted):
    rows = [("shell.output", "true", False, "Whether."), ("shell.default", "", True, "The shell.")]

    assert painted(setting_lines(rows, 80), 80) == (
        'shell.output   true  Whether.\nshell.default  ""    The shell.\n'
    )


def test_a_json_line_is_ascii_and_gives_the_text_back():
    nasty = "\x1b[2J\u202e\udcff\u2028\n日本"

    line = jsonl.line("event", {"title": nasty})

    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == {"record": "event", "title": nasty}


def test_the_documented_fields_are_the_stored_columns():
    assert tuple(jsonl.FIELDS["event"][1])[1:] == events.COLUMNS
    assert tuple(jsonl.FIELDS["session"][1])[1:] == sessions.COLUMNS
    assert tuple(jsonl.FIELDS["finding"][1])[1:] == Finding._fields


def test_every_status_and_kind_has_a_mark_that_fits_its_column(command_row):
    from devtrace.views.timeline import mark

    for status in STATUSES:
        assert len(mark(command_row("x", status=status))[0]) <= 6
    assert all(len(mark(command_row("x", kind=kind))[0]) <= 6 for kind in KINDS)
