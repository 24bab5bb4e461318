"""The cast is what https://docs.asciinema.org/manual/asciicast/v3/ says, and plays nothing that acts."""

from __future__ import annotations

import pytest

from devtrace.query.output import Output
from devtrace.views.export.asciicast import lines
from tests.asciicast import read_strictly

SESSION_START = 1_795_269_792_000_000


@pytest.fixture
def cast(session_row, command_row):
    """Header and events of a session; `outputs` are (bytes, timing, info) by command text."""

    def make(*commands, session=None, outputs=None):
        outputs = outputs or {}

        def read_output(event):
            found = outputs.get(event["data"]["command"])
            if found is None:
                return None
            data, timing, info = found
            known = {"seen": len(data), "head": len(data), "tail": 0, "truncated": False, "stderr": None}
            return Output(data, timing, known | info)

        return read_strictly(list(lines(session or session_row(), commands, read_output)))

    return make


def total(events) -> float:
    return round(sum(interval for interval, _, _ in events), 3)


def screen(events) -> str:
    return "".join(data for _, code, data in events if code == "o")


def test_a_session_becomes_a_cast(cast, command_row, session_row):
    header, events = cast(
        command_row("ls", 1, 0.5),
        command_row("make", 2, 3, status="failed"),
        session=session_row(title="release", exit_code=3),
        outputs={"ls": (b"a  b\r\n", [(100_000, 3), (250_000, 3)], {}), "make": (b"", [], {})},
    )

    assert header == {
        "version": 3,
        "term": {"cols": 100, "rows": 30, "type": "xterm-256color"},
        "timestamp": SESSION_START // 1_000_000,
        "title": "release",
        "tags": ["devtrace", "claude-code"],
    }
    assert events == [
        (1.0, "m", "ls"),
        (0.0, "o", "$ ls\r\n"),
        (0.1, "o", "a  "),
        (0.15, "o", "b\r\n"),
        (0.75, "m", "make"),
        (0.0, "o", "$ make\r\n"),
        (1346.0, "x", "3"),
    ]


def test_there_is_one_marker_for_each_command_at_the_prompt(cast, command_row):
    outer = command_row("make", 0, 9)
    nested = command_row("cc", 1, 1, parent=outer["id"])

    _, events = cast(outer, nested, command_row("ls", 20), outputs={"make": (b"cc\r\n", [(0, 4)], {})})

    assert [data for _, code, data in events if code == "m"] == ["make", "ls"]


def test_intervals_add_up_to_the_true_time_however_many_there_are(cast, command_row):
    timing = [(number * 1_333, 1) for number in range(1, 3001)]

    _, events = cast(command_row("spin", 0, 5), outputs={"spin": (b"." * 3000, timing, {})})

    shown = [event for event in events if event[1] != "x"][:-1]
    assert total(shown) == round(3000 * 1_333 / 1e6, 3)


def test_writes_of_the_same_millisecond_are_one_line(cast, command_row):
    timing = [(number * 10, 1) for number in range(1000)]

    _, events = cast(command_row("spin", 0, 5), outputs={"spin": (b"." * 1000, timing, {})})

    assert len([event for event in events if event[1] == "o"]) <= 13
    assert screen(events).count(".") == 1000


def test_a_clock_that_was_set_back_makes_no_negative_interval(cast, command_row, session_row):
    first, second = command_row("late", 100), command_row("early", -50)

    _, events = cast(first, second, session=session_row(ended_us=SESSION_START - 5))

    assert min(interval for interval, _, _ in events) == 0


def test_a_letter_cut_in_two_writes_is_whole(cast, command_row):
    data = "é日".encode()

    _, events = cast(
        command_row("x", 0, 1), outputs={"x": (data, [(n * 9000, 1) for n in range(len(data))], {})}
    )

    assert screen(events) == "$ x\r\né日\r\n"


def test_bytes_that_are_no_text_become_replacement_characters(cast, command_row):
    _, events = cast(command_row("x", 0, 1), outputs={"x": (b"a\xffb\xe6", [(0, 4)], {})})

    assert screen(events) == "$ x\r\na�b�\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_what_would_act_on_the_players_terminal_is_left_out_wherever_it_is_cut(cast, command_row, size):
    data = (
        b"\x1b]0;title\x07\x1b]52;c;cm0=\x1b\\\x1b[6n\x1b[c\x1b[>q\x1b[?1000h\x1b[?1049h\x1bP$qm\x1b\\\x1b_x\x1b\\\x05\x07"
        b"\x1b[31mred\x1b[0m\x1b[2K\x1b[1A\x1b(0q\x1b(B\x1b[?25l!\x1b[?25h\r\n"
    )
    timing = [(number * 2000, size) for number in range(len(data) // size + 1)]

    _, events = cast(command_row("x", 0, 1), outputs={"x": (data, timing, {})})

    assert screen(events) == (
        "$ x\r\n\x1b[31mred\x1b[0m\x1b[2K\x1b[1A\x1b(0q\x1b(B\x1b[?25l!\x1b[?25h\r\n\x1b[0m"
    )


def test_output_of_a_pipe_gets_the_carriage_returns_of_a_terminal(cast, command_row):
    _, events = cast(command_row("x", 0, 1), outputs={"x": (b"a\nb\n", [(0, 4)], {"stderr": 0})})

    assert screen(events) == "$ x\r\na\r\nb\r\n"


@pytest.mark.parametrize(
    "timing", [[(0, 12)], [(0, 5), (9000, 7)], [(0, 3), (5000, 2), (9000, 7)], [], [(0, 1)] * 12]
)
def test_what_was_not_kept_is_said_once_where_it_was(cast, command_row, timing):
    info = {"seen": 5_000_000, "head": 5, "tail": 7, "truncated": True}

    _, events = cast(command_row("x", 0, 1), outputs={"x": (b"head!tail...", timing, info)})

    assert screen(events) == "$ x\r\nhead!\r\n[... 4.8 MB not kept ...]\r\ntail...\r\n"


def test_an_output_without_a_head_says_so_first(cast, command_row):
    info = {"seen": 100, "head": 0, "tail": 4, "truncated": True}

    _, events = cast(command_row("x", 0, 1), outputs={"x": (b"tail", [(0, 4)], info)})

    assert screen(events) == "$ x\r\n\r\n[... 96 B not kept ...]\r\ntail\r\n"


def test_a_program_on_the_alternate_screen_is_summarised(cast, command_row):
    info = {"alternate_screen": 123_456}

    _, events = cast(command_row("vim", 0, 1), outputs={"vim": (b"", [], info)})

    assert "[121 KB on the alternate screen, not kept]" in screen(events)


def test_a_command_of_several_lines_has_continuation_prompts(cast, command_row):
    _, events = cast(command_row("for i in 1\ndo echo\ndone", 0, 1))

    assert events[0] == (0.0, "m", "for i in 1 (+2 lines)")
    assert screen(events) == "$ for i in 1\r\n> do echo\r\n> done\r\n"


def test_the_command_itself_cannot_act_on_the_players_terminal(cast, command_row):
    _, events = cast(command_row("echo '\x1b[2J\u202e'", 0, 1))

    assert screen(events) == "$ echo '\\e[2J\\u202e'\r\n"
    assert events[0][2] == "echo '\\e[2J\\u202e'"


def test_a_running_session_has_no_exit(cast, command_row, session_row):
    _, events = cast(command_row("ls"), session=session_row(status="active", ended_us=None, exit_code=None))

    assert "x" not in [code for _, code, _ in events]


@pytest.mark.parametrize(
    "meta", [{}, {"cols": 0, "rows": -1}, {"cols": "80", "rows": True, "term": 3}, {"cols": 99999}]
)
def test_an_unknown_size_is_that_of_the_oldest_terminals(cast, session_row, meta):
    header, _ = cast(session=session_row(meta=meta))

    assert header["term"] == {"cols": 80, "rows": 24}


def test_an_empty_session_is_a_valid_cast(cast):
    header, events = cast()

    assert header["title"] == "devtrace session 019aa6e0c1de"
    assert events == [(1348.0, "x", "0")]
