"""What of an event is searched."""

from __future__ import annotations

import json
import random

import pytest

from devtrace.store.search_text import LONGEST, TAIL, Texts, plain, texts_of
from tests.store.crowd import tell

SEED = random.SystemRandom().randrange(1 << 32)


def told(
    kind: str, data: object, *, title: str = "", status: str = "ok", output: bytes | None = None
) -> Texts:
    return texts_of({"kind": kind, "title": title, "status": status, "data": data}, lambda: output)


def test_a_command_is_its_text_and_what_it_printed_only_where_it_failed():
    data = {"command": "make test"}

    assert told("run_command", data, output=b"fine") == Texts(title="make test")
    failed = told("run_command", data, status="failed", output=b"\x1b[31mno rule\x1b[0m\r\n")
    assert failed == Texts(title="make test", output="no rule")
    assert told("run_command", {"command": None}, title="$ (private)") == Texts()


def test_what_was_said_is_searched_once_and_not_as_a_title_too():
    for kind in ("prompt", "assistant_message", "note"):
        assert told(kind, {"text": "why"}, title="why") == Texts(said="why")


def test_a_tool_call_is_its_tool_its_command_its_paths_and_what_it_was_given_besides():
    given = {"file_path": "src/a.py", "old_string": 'x = "1"\ny', "count": 3, "all": True, "none": None}
    data = {"tool": "Edit", "paths": ["src/a.py"], "input": json.dumps(given)}

    assert told("tool_call", data) == Texts(title="Edit", paths="src/a.py", input='x = "1"\ny\n3')
    ran = {"tool": "Bash", "command": "npm test", "input": '{"command": "npm test"}', "result": "1 failing"}
    assert told("tool_call", ran) == Texts(title="Bash: npm test")
    assert told("tool_call", ran, status="failed").output == "1 failing"
    assert told("tool_call", {"tool": "Odd", "input": "no {json"}).input == "no {json"


def test_an_mcp_call_is_server_tool_arguments_and_its_error():
    data = {"server": "files", "tool": "read", "arguments": '{"path": "a.txt"}', "error": "no such file"}

    assert told("mcp_call", data, status="failed") == Texts(
        title="files/read", input="a.txt", output="no such file"
    )
    assert told("mcp_call", data).output is None


def test_an_edit_is_its_paths_and_a_move_of_head_its_headline_and_branch():
    changes = [{"path": "b.py", "old_path": "a.py"}, {"path": "b.py"}, {"path": "c.py", "old_path": None}]

    assert told("edit_files", {"changes": changes}, title="+1 -1 b.py") == Texts(paths="b.py\na.py\nc.py")
    commit = told("git_commit", {"branch": "main"}, title="commit 1a2b3c4d Add up the cart")
    assert commit == Texts(title="commit 1a2b3c4d Add up the cart", input="main")
    assert told("python_trace", {"argv": ["app.py", "--all"]}).title == "app.py --all"


def test_what_the_record_says_of_itself_is_not_searched_and_an_unknown_kind_by_its_title():
    for kind in ("io", "policy", "agent_session", "agent_payload", "probe_status", "mcp_frames"):
        assert told(kind, {"text": "x"}, title="x") == Texts()
    assert told("from_later", {"text": "x"}, title="a title") == Texts(title="a title")


def test_of_a_long_output_the_end_is_searched_and_no_sequence_that_was_cut():
    lines = "".join(f"\x1b[3{n % 8}mline {n}\x1b[0m\n" for n in range(20_000))
    output = told("run_command", {}, status="failed", output=lines.encode()).output

    assert output is not None
    assert output.endswith("line 19999")
    assert len(output) <= TAIL
    assert "\x1b" not in output
    assert "[3" not in output


def test_of_an_output_full_of_sequences_no_piece_of_one_is_left():
    lines = "".join("\x1b[38;5;123m" * 20 + f"line {n}\n" for n in range(5_000))
    output = told("run_command", {}, status="failed", output=lines.encode()).output

    assert output is not None
    assert {line.split()[0] for line in output.split("\n")} == {"line"}


@pytest.mark.parametrize(
    ("sent", "stays"),
    [
        ("10%\r50%\r100% done\nnext\n", "100% done\nnext"),
        ("dos\r\nlines\r\n", "dos\nlines"),
        ("\x1b]0;a title\x07shown", "shown"),
        ("\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bP1$r0m\x1b\\after", "after"),
        ("\x1b(B\x1b[?25l\x1b[2Kplain\x1b[0K", "plain"),
        ("a\x00b\x07c\td", "a b c\td"),
        ("ends in \x1b[3", "ends in"),
    ],
    ids=["progress", "crlf", "title", "link", "dcs", "modes", "controls", "cut"],
)
def test_output_is_searched_as_it_was_left_standing(sent, stays):
    assert plain(sent) == stays


def test_long_texts_give_way_in_the_middle_and_short_ones_not_at_all():
    data = {"tool": "Write", "paths": ["a.py"], "input": json.dumps(["start " + "x" * 90_000 + " end"])}
    texts = told("tool_call", data, status="failed")

    assert (texts.title, texts.paths) == ("Write", "a.py")
    assert texts.input is not None
    assert texts.input.startswith("start x")
    assert texts.input.endswith("x end")
    assert "\n[...]\n" in texts.input
    assert sum(map(len, filter(None, texts))) <= LONGEST


def anything(chance: random.Random, depth: int = 0) -> object:
    """A value as JSON may hold it, and worse."""
    made = [
        lambda: None,
        lambda: chance.random() < 0.5,
        lambda: chance.randrange(-(1 << 70), 1 << 70),
        lambda: chance.choice(
            ["", "a", "\ud800", "\x00", "{", '{"a": "\\ud800"}', "[" * 5_000, "\U0001f600"]
        ),
        lambda: [anything(chance, depth + 1) for _ in range(chance.randrange(4))],
        lambda: {
            chance.choice(("path", "text", "command", "tool", "x")): anything(chance, depth + 1)
            for _ in range(chance.randrange(4))
        },
    ]
    return chance.choice(made[: 4 if depth > 3 else 6])()


NAMES = (
    "command", "text", "tool", "paths", "input", "result", "arguments", "error", "server", "changes",
    "branch", "argv", "url", "blobs",
)  # fmt: skip
KINDS = (
    "run_command", "prompt", "note", "tool_call", "mcp_call", "mcp_server", "edit_files", "git_commit",
    "python_trace", "gap", "from_later",
)  # fmt: skip


def test_whatever_a_guest_wrote_there_are_texts_that_sqlite_takes():
    tell(f"seed {SEED}")
    chance = random.Random(SEED)
    for _ in range(1_000):
        data = {name: anything(chance) for name in chance.sample(NAMES, 6)}
        status = chance.choice(("ok", "failed"))
        output = chance.choice((None, b"", chance.randbytes(200)))
        for text in filter(
            None, told(chance.choice(KINDS), data, title="t\ud800", status=status, output=output)
        ):
            text.encode()
            assert "\0" not in text
            assert len(text) <= LONGEST
    assert told("note", ["no object"]) == Texts()
