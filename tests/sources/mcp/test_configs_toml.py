"""Servers in Codex' config.toml: however they are written, ours goes in and out, and nothing else."""

from __future__ import annotations

import os
import random
import tomllib
from pathlib import Path
from typing import Any

import pytest

from devtrace.errors import EnvironmentError
from devtrace.sources.mcp import configs
from devtrace.sources.mcp.clients import Config
from devtrace.sources.mcp.toml_text import items, values

RUN = 'exec devtrace mcp proxy "$@"'
CODEX = Config("codex", Path("/repo"), ".codex/config.toml", ".codex/config.toml", {"": ("mcp_servers",)})
SEEDS = range(*(int(part) for part in os.environ.get("SEEDS", "0-40").split("-")))
OURS = ["-c", RUN, "devtrace-mcp-proxy", "--name=a", "--"]


def wrapped(text: str, run: str = RUN, names: list[str] | None = None) -> str:
    return configs.with_proxies(CODEX, text, run, names)


def unwrapped(text: str, names: list[str] | None = None) -> str:
    return configs.without_proxies(CODEX, text, names)


FILES = {
    "table": '# mine\nmodel = "x"\n\n[mcp_servers.a]  # the a\ncommand = "npx" # runner\nargs = ["-y", "x"]\n'
    'startup_timeout_sec = 20\n\n[mcp_servers.a.env]\nK = "v"\n\n[other]\nz = 1\n',
    "lines": '[mcp_servers.a]\ncommand = "npx"\nargs = [\n  "-y", # yes, "no"\n  "x",\n]\n',
    "no args": '[mcp_servers.a]\ncommand = "npx" # [it]\n\n[other]\n',
    "no args at the end": '[mcp_servers.a]\n  command = "npx"',
    "empty args": "[mcp_servers.a]\nargs = [ ]\ncommand = 'npx'\n",
    "comment in the list": '[mcp_servers.a]\ncommand = "npx"\nargs = [ # none\n]\n',
    "braces": 'z = 1\n[mcp_servers]\na = { command = "npx", args = ["x"], env = { K = "}" } } # c\n',
    "braces without args": 'mcp_servers = { a = {env={K="v"},command="npx"} }\n',
    "dotted": '[mcp_servers]\na.command = "npx" # c\na . env . K = "v"\n',
    "dotted above": 'mcp_servers.a.args = ["x"]\nmcp_servers."a".command = "npx"\nz = 1979-05-27 07:32:00\n',
    "apart": '[mcp_servers.a]\ncommand = "npx"\n[[x]]\ny = 1\n[mcp_servers.a.env]\nk = "v"\n[[x]]\ny = 2\n',
    "strings": "[ mcp_servers . 'a' ]\ncommand = '''npx'''\n"
    'args = ["""\n["a"],\'\\"""", \'\'\'\n\'\'\', "\\u00e9\\"]", \'"#\']\n',
    "five quotes": '[mcp_servers.a]\ncommand = "npx"\nargs = ["""two: """"", \'\'\'two: \'\'\'\'\']\n',
    "crlf": '[mcp_servers.a]\r\ncommand = "npx" # c\r\n\r\n[other]\r\nx = [1,\r\n2]\r\n',
    "numbers": 'a = [1, 2.5, [3], {x = [true]}, 0x1F, inf]\n[mcp_servers.a]\ncommand = "npx"\nx = +1_0 # c\n',
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_in_and_out_again_leaves_every_byte(text: str) -> None:
    before = tomllib.loads(text)
    new = wrapped(text)

    server = tomllib.loads(new)["mcp_servers"]["a"]
    assert server.pop("command") == "/bin/sh"
    args = server.pop("args")
    assert args[:2] == OURS[:2]
    assert args[3:] == [*OURS[3:], "npx", *before["mcp_servers"]["a"].get("args", [])]
    assert server == {k: v for k, v in before["mcp_servers"]["a"].items() if k not in ("command", "args")}
    assert unwrapped(new) == text


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_second_time_changes_nothing_and_another_installation_is_replaced(text: str) -> None:
    assert wrapped(wrapped(text)) == wrapped(text)
    assert wrapped(wrapped(text, run="exec '/opt/other'")) == wrapped(text)


def test_a_list_that_was_not_there_is_the_next_line() -> None:
    assert wrapped(FILES["no args"]).splitlines() == [
        "[mcp_servers.a]",
        'command = "/bin/sh" # [it]',
        'args = ["-c", "exec devtrace mcp proxy \\"$@\\"", "devtrace-mcp-proxy (no args)", "--name=a", "--",'
        ' "npx"]',
        "",
        "[other]",
    ]


def test_the_lines_of_ours_end_as_the_others_do() -> None:
    assert "\n" not in wrapped(FILES["crlf"]).replace("\r\n", "")


def test_each_word_stands_on_a_line_where_they_did() -> None:
    assert wrapped(FILES["lines"]).splitlines()[2:10] == [
        "args = [", '  "-c",', '  "exec devtrace mcp proxy \\"$@\\"",', '  "devtrace-mcp-proxy",',
        '  "--name=a",', '  "--",', '  "npx",', '  "-y", # yes, "no"',
    ]  # fmt: skip


def test_a_list_that_the_user_moved_stays_as_an_empty_one() -> None:
    moved = wrapped(FILES["no args"]).replace("\nargs", "\nenabled = true\nargs")

    assert tomllib.loads(unwrapped(moved))["mcp_servers"]["a"] == {
        "command": "npx",
        "args": [],
        "enabled": True,
    }


def test_servers_elsewhere_and_other_names_stay() -> None:
    text = (
        '[mcp_servers."a b"]\ncommand = "x"\n[mcp_servers.é]\nurl = "https://a.example"\n[a]\ncommand = "x"\n'
    )
    text = text.replace("é", '"é"')

    new = tomllib.loads(wrapped(text, names=["a b", "é"]))

    assert new["mcp_servers"]["a b"]["args"][3] == "--name=a b"
    assert (new["mcp_servers"]["é"], new["a"]) == ({"url": "https://a.example"}, {"command": "x"})


@pytest.mark.parametrize("text", ["", "mcp_servers = 3\n", "[mcp_servers]\na = 1\n", "# only this"])
def test_where_no_server_is_nothing_changes(text: str) -> None:
    assert wrapped(text) == unwrapped(text) == text


def test_what_cannot_be_read_is_an_error_with_a_hint() -> None:
    with pytest.raises(EnvironmentError, match=r"\.codex/config\.toml is no TOML: .*line 2") as caught:
        wrapped('[mcp_servers.a]\ncommand = npx"\n')

    assert caught.value.code == "ERR_MCP_CONFIG_FILE"


# --- places -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_every_value_is_found_at_its_place(text: str) -> None:
    for one in values(text):
        found = tomllib.loads(text)
        for name in one.names:
            found = found[name] if name != "[]" else found[0]
        told = tomllib.loads("x = " + text[one.at : one.end])["x"]
        assert told == found or "[]" in one.names
        assert text[one.last : one.at].strip().endswith("=")


def test_the_items_of_a_list_are_found_at_their_places() -> None:
    text = "[ 1 , # a, ]\n \"b,]\" ,[2, 3], {x = [1, 2]},\n'c' ,\"\"\"two: \"\"\"\"\" ,''''d'''']"

    assert [text[start:end] for start, end in items(text, 0)] == [
        "1", '"b,]"', "[2, 3]", "{x = [1, 2]}", "'c'", '"""two: """""', "''''d''''",
    ]  # fmt: skip


# --- anything ---------------------------------------------------------------------------------------------


class Writer:
    """Writes TOML in every way that there is."""

    def __init__(self, dice: random.Random):
        self.dice = dice
        self.end = dice.choice(["\n", "\r\n"])

    def file(self, servers: dict[str, Any]) -> str:
        blocks = [self.block(name, entry) for name, entry in servers.items()]
        blocks += [["[x]", 'y = "command"'], ["[[z]]", "command = 1"], ["[[z]]", "args = []"]]
        self.dice.shuffle(blocks)
        top = [] if self.dice.random() < 0.5 else ["# top", 'model = "[mcp_servers.a]"']
        lines = [line for block in blocks for line in [*block, *[""] * self.dice.randrange(2)]]
        return self.end.join([*top, *lines]) + self.dice.choice(["", self.end])

    def block(self, name: str, entry: dict[str, Any]) -> list[str]:
        """A server as a table, with tables of its own behind it, or between braces in it."""
        key = f"mcp_servers.{self.dice.choice(['', ' '])}{self.string(name, is_key=True)}"
        lines, later = [f"[{key}]{self.comment()}"], []
        for field, value in entry.items():
            if isinstance(value, dict) and self.dice.random() < 0.5:
                later += [f"[{key}.{field}]", *(f"{k} = {self.value(v)}" for k, v in value.items())]
            else:
                equals = self.dice.choice(["=", " = ", " =\t"])
                lines.append(
                    f"{self.dice.choice(['', '  '])}{field}{equals}{self.value(value)}{self.comment()}"
                )
        return [*lines, *later]

    def comment(self) -> str:
        return self.dice.choice(["", "", "", " # [mcp_servers.a] '", "#"])

    def value(self, value: Any) -> str:
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{k} = {self.value(v)}" for k, v in value.items()) + " }"
        if isinstance(value, list):
            blank = self.dice.choice(["", " ", self.end, f" # , ]{self.end}  "])
            late = "," if value and self.dice.random() < 0.3 else ""
            return f"[{blank}{f'{blank},{blank}'.join(map(self.value, value))}{late}{blank}]"
        if isinstance(value, str):
            return self.string(value)
        return str(value).lower()

    def string(self, text: str, *, is_key: bool = False) -> str:
        ways = ["basic"] + ["literal"] * ("'" not in text and "\n" not in text)
        ways += ["many"] * (not is_key) + ["many literal"] * (not is_key and "'" not in text)
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return {
            "basic": '"' + escaped.replace("\n", "\\n") + '"',
            "literal": f"'{text}'",
            "many": f'"""{escaped}"""',
            "many literal": f"'''{text}'''",
        }[self.dice.choice(ways)]


WORDS = ["npx", "-y", "a b", "", 'q"q', "it's", "back\\slash", "é😀", "]", "# no", ",", "--", "two\nlines"]


def an_entry(dice: random.Random) -> dict[str, Any]:
    entry: dict[str, Any] = {"command": dice.choice(["npx", "/opt/a b/x", "é"])}
    if dice.random() < 0.7:
        entry["args"] = [dice.choice(WORDS) for _ in range(dice.randrange(4))]
    for name, value in (("env", {"K": "v", "command": "no"}), ("enabled", True), ("tool_timeout_sec", 2.5)):
        if dice.random() < 0.5:
            entry[name] = value
    names = list(entry)
    dice.shuffle(names)
    return {name: entry[name] for name in names}


@pytest.mark.parametrize("seed", SEEDS)
def test_any_file_comes_through_in_and_out(seed: int) -> None:
    dice = random.Random(seed)
    there = {
        name: an_entry(dice)
        for name in dice.sample(["a", "b c", "ünï", 'q"', "x.y", "--"], dice.randrange(5))
    }
    text = Writer(dice).file(there)
    before = tomllib.loads(text)
    assert before.get("mcp_servers", {}) == there, "the writer wrote something else"

    new = wrapped(text)

    assert wrapped(new) == new
    assert wrapped(wrapped(text, run="of another")) == new
    assert unwrapped(new) == text
    after = tomllib.loads(new)
    for name, entry in there.items():
        server = after["mcp_servers"][name]
        words = [server["command"], *server["args"]]
        assert words[4:] == [f"--name={name}", "--", entry["command"], *entry.get("args", [])]
        after["mcp_servers"][name] = entry
    assert after == before
    own = configs.with_own_server(CODEX, text, ["devtrace"])
    assert tomllib.loads(own)["mcp_servers"]["devtrace"] == {"command": "devtrace", "args": ["mcp", "serve"]}
    assert configs.without_own_server(CODEX, own) == text


# --- for a screen, and our own server ----------------------------------------------------------------------


def test_what_is_nobodys_business_is_masked_for_a_screen() -> None:
    text = (
        '[mcp_servers.a]\ncommand = "npx"\nenv = { A = "one", B = \'two\' }\n'
        '[mcp_servers.b]\nurl = "https://u:three@b.example/mcp?k=four"\nbearer_token = """five"""\n'
        '[mcp_servers.b.http_headers]\nX = "six"\n[env]\nA = "stays"\n'
    )

    shown = configs.masked(CODEX, text)

    assert not [word for word in ("one", "two", "three", "four", "five", "six") if word in shown]
    assert tomllib.loads(shown)["env"] == {"A": "stays"}
    assert tomllib.loads(shown)["mcp_servers"]["a"]["command"] == "npx"


def test_our_own_server_is_a_table_at_the_end() -> None:
    new = configs.with_own_server(CODEX, 'model = "x"\n', ["/opt/my venv/python", "-m", "devtrace"])

    assert new == (
        'model = "x"\n\n[mcp_servers.devtrace]\ncommand = "/opt/my venv/python"\n'
        'args = ["-m", "devtrace", "mcp", "serve"]\n'
    )
    assert configs.with_own_server(CODEX, new, ["/opt/my venv/python", "-m", "devtrace"]) == new
    assert configs.with_own_server(CODEX, None, ["devtrace"]) == (
        '[mcp_servers.devtrace]\ncommand = "devtrace"\nargs = ["mcp", "serve"]\n'
    )
    assert configs.without_own_server(CODEX, configs.with_own_server(CODEX, None, ["devtrace"])) is None


def test_what_the_user_put_into_our_own_servers_table_goes_with_it_and_nothing_else_does() -> None:
    new = configs.with_own_server(CODEX, "[a]\nb = 1\n", ["devtrace"])
    by_hand = new + 'enabled = true\n[mcp_servers.devtrace.env]\nA = "b" # c\n\n[z]\nx = 1\n'

    assert configs.without_own_server(CODEX, by_hand) == "[a]\nb = 1\n\n[z]\nx = 1\n"


def test_our_own_servers_table_in_the_middle_leaves_the_lines_around_it() -> None:
    text = 'x = 1\n[mcp_servers.devtrace]\ncommand = "devtrace"\nargs = ["mcp", "serve"]\n[z]\ny = 1\n'

    assert configs.without_own_server(CODEX, text) == "x = 1\n[z]\ny = 1\n"


@pytest.mark.parametrize("text", [
    'mcp_servers = { devtrace = { command = "devtrace", args = ["mcp", "serve"] } }\n',
    '[mcp_servers.devtrace]\ncommand = "devtrace"\nargs = ["mcp", "serve"]\n[a]\nb = 1\n'
    '[mcp_servers.devtrace.env]\nA = "b"\n',
])  # fmt: skip
def test_our_own_server_in_another_form_is_left_to_its_owner(text: str) -> None:
    with pytest.raises(EnvironmentError) as caught:
        configs.without_own_server(CODEX, text)

    assert "take it out by hand" in caught.value.hint


def test_a_table_between_braces_takes_no_server_more() -> None:
    with pytest.raises(EnvironmentError, match="is no TOML"):
        configs.with_own_server(CODEX, 'mcp_servers = { a = { command = "x" } }\n', ["devtrace"])
