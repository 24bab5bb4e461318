"""Servers in settings files: ours in front of them and away again, and every other byte stays."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devtrace.errors import EnvironmentError
from devtrace.sources import json_text
from devtrace.sources.mcp import configs
from devtrace.sources.mcp.clients import Config

RUN = 'exec devtrace mcp proxy "$@"'
MCP_SERVERS = {"": ("mcpServers",)}
SEEDS = range(*(int(part) for part in os.environ.get("SEEDS", "0-40").split("-")))


def config(path: str = ".mcp.json", lists: dict[str, tuple[str, ...]] | None = None) -> Config:
    return Config("claude-code", Path("/repo"), path, path, lists or MCP_SERVERS)


def wrapped(text: str, names: list[str] | None = None, run: str = RUN, **more: Any) -> str:
    return configs.with_proxies(config(**more), text, run, names)


def unwrapped(text: str, names: list[str] | None = None, **more: Any) -> str:
    return configs.without_proxies(config(**more), text, names)


def data(text: str) -> Any:
    return json.loads(json_text.plain(text).removeprefix("\ufeff"))


def servers(text: str) -> Any:
    return data(text)["mcpServers"]


OURS = ["-c", RUN, "devtrace-mcp-proxy"]
FILES = {
    "one line": '{"mcpServers": {"files": {"command": "npx", "args": ["-y", "x"], "env": {"K": "v"}}}}',
    "lines": '{\n  "mcpServers": {\n    "files": {\n      "command": "npx",\n      "args": [\n        "-y",\n'
    '        "x"\n      ],\n      "disabled": false\n    }\n  }\n}\n',
    "no args": '{\n  "mcpServers": {\n    "files": {\n      "type": "stdio",\n      "command": "npx"\n'
    "    }\n  }\n}",
    "no args in a line": '{"mcpServers": {"files": {"command": "npx", "timeout": 5}}}\n',
    "empty args": '{"mcpServers": {"files": {"args": [ ], "command": "npx"}}}',
    "args in lines, empty": '{"mcpServers":{"files":{"command":"npx","args":[\n]}}}',
    "args first": '{"mcpServers": {"files": {"args": ["x"] , "z": 1.0e3, "command" :"npx"}}}',
    "crlf": '{\n\t"mcpServers": {\n\t\t"files": {\n\t\t\t"command": "npx",\n\t\t\t"args": [\n'
    '\t\t\t\t"x"\n\t\t\t]\n\t\t}\n\t}\n}\n'.replace("\n", "\r\n"),
    "mark": '\ufeff{"mcpServers": {"files": {"command": "npx"}}}',
    "escapes": r'{"mcpServers": {"files": {"command": "n\u0070x", "args": ["\u00e9", "\/"]}}}',
    "twice": '{"mcpServers": {"files": {"command": "old"}}, "mcpServers": {"files": {"command": "older"},'
    ' "files": {"command": "npx", "command": "npx", "args": ["x"]}}}',
    "comments": '{\n  // "mcpServers": {"a": {"command": "b"}}\n  "mcpServers": { /* {"} */\n    "files": {\n'
    '      "command": "npx", // the runner, not "npx"\n      "args": [ // none\n'
    '        "-y", /* , */ "x", ],\n      "url//": "http://a//b", /**/\n    },\n  },\n}\n',
    "transport": '{"mcpServers": {"files": {"transport": {"type": "stdio", "command": "npx", "args": ["x"]},'
    ' "metadata": {"command": "no"}}}}',
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_in_and_out_again_leaves_every_byte(text: str) -> None:
    new = wrapped(text)

    (entry,) = configs.servers(config(), new)
    (before,) = configs.servers(config(), text)
    assert entry.standing.kind == "proxied"
    assert entry.words[:3] == ["/bin/sh", "-c", RUN]
    assert entry.words[4:6] == ["--name=files", "--"]
    assert entry.words[6:] == before.words
    assert unwrapped(new) == text


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_second_time_changes_nothing(text: str) -> None:
    assert wrapped(wrapped(text)) == wrapped(text)


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_another_installation_is_replaced_and_not_put_in_front(text: str) -> None:
    elsewhere = wrapped(text, run="exec /opt/other/devtrace")

    assert wrapped(elsewhere) == wrapped(text)


def test_each_word_stands_on_a_line_where_they_did() -> None:
    assert wrapped(FILES["lines"]).splitlines()[3:13] == [
        '      "command": "/bin/sh",',
        '      "args": [',
        '        "-c",',
        '        "exec devtrace mcp proxy \\"$@\\"",',
        '        "devtrace-mcp-proxy",',
        '        "--name=files",',
        '        "--",',
        '        "npx",',
        '        "-y",',
        '        "x"',
    ]


def test_a_list_that_was_not_there_is_put_behind_the_command() -> None:
    assert wrapped(FILES["no args"]).splitlines()[4:6] == [
        '      "command": "/bin/sh",',
        '      "args": ["-c", "exec devtrace mcp proxy \\"$@\\"", "devtrace-mcp-proxy (no args)",'
        ' "--name=files", "--", "npx"]',
    ]


def test_what_a_client_wrote_in_its_own_way_is_left_so_where_it_says_the_same() -> None:
    by_client = json.dumps(servers(wrapped(FILES["one line"])), separators=(" , ", ":")).replace(
        "npx", "n\\u0070x"
    )
    by_client = f'{{"mcpServers":{by_client}}}'

    assert wrapped(by_client) == by_client


def test_a_list_that_a_client_moved_stays_as_an_empty_one() -> None:
    text = wrapped(FILES["no args"])
    (entry,) = servers(text).values()
    moved = json.dumps(
        {"mcpServers": {"files": {"command": entry.pop("command"), **dict(reversed(entry.items()))}}}
    )
    moved = moved.replace('"args"', '"cwd": ".", "args"')

    assert servers(unwrapped(moved))["files"] == {"command": "npx", "cwd": ".", "args": [], "type": "stdio"}


def test_what_the_user_adds_to_ours_stays_when_ours_goes() -> None:
    text = FILES["no args"]
    by_hand = wrapped(text).replace('"npx"]', '"npx", "--verbose"]').replace('"stdio"', '"stdio", "cwd": "."')

    (server,) = servers(unwrapped(by_hand)).values()

    assert server == {"type": "stdio", "cwd": ".", "command": "npx", "args": ["--verbose"]}


def test_a_comma_that_the_user_put_behind_ours_goes_with_it() -> None:
    by_hand = wrapped(FILES["empty args"]).replace('"npx" ]', '"npx" , ]')

    assert servers(unwrapped(by_hand))["files"] == {"args": [], "command": "npx"}


def test_an_entry_that_was_taken_apart_is_left_alone() -> None:
    by_hand = wrapped(FILES["one line"]).replace('"--", "npx", "-y", "x"', '"--"')

    assert unwrapped(by_hand) == by_hand
    assert servers(wrapped(by_hand))["files"]["args"][3:] == ["--name=files", "--", "/bin/sh", *OURS,
                                                               "--name=files", "--"]  # fmt: skip


def test_an_entry_whose_command_was_set_again_gets_ours_anew() -> None:
    by_hand = wrapped(FILES["one line"]).replace('"/bin/sh"', '"/usr/bin/env"')

    assert servers(wrapped(by_hand))["files"]["command"] == "/bin/sh"
    assert unwrapped(by_hand) == FILES["one line"]


def test_only_the_servers_that_were_named_get_it() -> None:
    text = '{"mcpServers": {"a": {"command": "x"}, "b": {"command": "y"}, "a b é": {"command": "z"}}}'

    some = wrapped(text, ["b", "a b é"])

    assert [entry["command"] for entry in servers(some).values()] == ["x", "/bin/sh", "/bin/sh"]
    assert servers(some)["a b é"]["args"][3] == "--name=a b é"
    assert unwrapped(some, ["b"]) == wrapped(text, ["a b é"])
    assert unwrapped(some) == text


@pytest.mark.parametrize("entry", [
    {"type": "http", "url": "https://a.example"}, {"command": "devtrace", "args": ["mcp", "serve"]},
    {"command": "npx -y x"}, {"command": "npx", "args": {}}, {"transport": {"type": "sse", "url": "https://a"}},
    "text", 3, None, [], {},
])  # fmt: skip
def test_what_is_no_server_that_can_be_started_stays(entry: object) -> None:
    text = json.dumps({"mcpServers": {"it": entry}})

    assert wrapped(text) == text


@pytest.mark.parametrize("text", ["", "{}", "\n", '{"mcpServers": []}', '{"mcpServers": {}}', "// none\n"])
def test_where_no_server_is_nothing_changes(text: str) -> None:
    assert wrapped(text) == unwrapped(text) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "no JSON: Expecting property name enclosed in double quotes in line 1"),
        ('{\n"mcpServers": {"a": {"command": "x" "args": []}}}', "in line 2"),
        ("[]", "holds no JSON object"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": "/* }', "no JSON"),
    ],
)
def test_what_cannot_be_read_is_an_error_with_a_hint(text: str, why: str) -> None:
    with pytest.raises(EnvironmentError) as caught:
        wrapped(text)

    assert caught.value.code == "ERR_MCP_CONFIG_FILE"
    assert caught.value.message.startswith(".mcp.json ")
    assert why in caught.value.message
    assert "left as it is" in caught.value.hint or "left as it was" in caught.value.hint


# --- other lists ------------------------------------------------------------------------------------------


def test_opencode_has_one_list_for_command_and_arguments() -> None:
    text = '{\n  // mine\n  "mcp": {"a": {"type": "local", "command": ["npx", "x"], "enabled": true},\n'
    text += '    "off": {"enabled": false}, "r": {"type": "remote", "url": "https://a.example"}},\n}\n'
    lists = {"": ("mcp",)}

    new = wrapped(text, lists=lists)

    assert data(new)["mcp"]["a"]["command"] == ["/bin/sh", *OURS, "--name=a", "--", "npx", "x"]
    assert wrapped(new, lists=lists) == new
    assert unwrapped(new, lists=lists) == text
    assert [one.name for one in configs.servers(config(lists=lists), text)] == ["a", "r"]


def test_opencode_of_the_second_version_keeps_them_below_servers() -> None:
    text = '{"mcp": {"timeout": 5, "servers": {"a": {"type": "local", "command": ["npx"]}}}}'
    lists = {"": ("mcp",)}

    new = wrapped(text, lists=lists)

    assert data(new)["mcp"]["servers"]["a"]["command"][-1] == "npx"
    assert unwrapped(new, lists=lists) == text


def test_claude_codes_own_file_has_the_servers_of_projects_too() -> None:
    text = json.dumps(
        {
            "projects": {
                "/repo": {"mcpServers": {"a": {"command": "x"}}, "history": ["{"]},
                "/other": {"mcpServers": {"a": {"command": "x"}}},
            },
            "mcpServers": {"a": {"type": "stdio", "command": "y", "args": [], "env": {}}},
            "oauthAccount": {"uuid": "1"},
        },
        indent=2,
    )
    lists = {**MCP_SERVERS, "project /repo": ("projects", "/repo", "mcpServers")}

    new = wrapped(text, lists=lists)

    assert data(new)["mcpServers"]["a"]["args"][-1] == "y"
    assert data(new)["projects"]["/repo"]["mcpServers"]["a"]["args"][-1] == "x"
    assert data(new)["projects"]["/other"] == data(text)["projects"]["/other"]
    assert unwrapped(new, lists=lists) == text


# --- anything ---------------------------------------------------------------------------------------------


class Writer:
    """Writes JSON as no program does: blanks, comments and late commas anywhere."""

    def __init__(self, dice: random.Random):
        self.dice = dice
        self.has_comments = dice.random() < 0.5
        self.end = dice.choice(["\n", "\r\n"])

    def text(self, value: Any) -> str:
        if isinstance(value, dict):
            return self._group(
                "{}", [f"{self.text(k)}{self.blank()}:{self.blank()}{self.text(v)}" for k, v in value.items()]
            )
        if isinstance(value, list):
            return self._group("[]", [self.text(one) for one in value])
        return json.dumps(value, ensure_ascii=self.dice.random() < 0.5)

    def _group(self, around: str, items: list[str]) -> str:
        late = "," + self.blank() if items and self.has_comments and self.dice.random() < 0.3 else ""
        inside = f"{self.blank()},{self.blank()}".join(items)
        return f"{around[0]}{self.blank()}{inside}{self.blank()}{late}{around[1]}"

    def blank(self) -> str:
        chosen = self.dice.choice(["", "", " ", f"{self.end}    ", "\t", self.end])
        if self.has_comments and self.dice.random() < 0.15:
            chosen += self.dice.choice([f'// "{{[,]}} {self.end}', '/* "}],/ */', f"/*{self.end}*/"])
        return chosen


WORDS = [
    "npx",
    "-y",
    "a b",
    "",
    'q"q',
    "back\\slash",
    "é\u2028😀",
    "$HOME",
    "--",
    "-c",
    "{env:X}",
    "// no",
    "/* ",
]


def an_entry(dice: random.Random) -> dict[str, Any]:
    words = [dice.choice(WORDS) for _ in range(dice.randrange(4))]
    entry: dict[str, Any] = {"command": dice.choice(["npx", "/opt/a b/x", "😀", 'q"'])}
    if dice.random() < 0.7:
        entry["args"] = words
    if dice.random() < 0.3:
        entry = {"type": "local", "command": [entry["command"], *words]}
    for name in ("env", "disabled", "alwaysAllow", "cwd", "x//y", "args2"):
        if dice.random() < 0.4:
            entry[name] = dice.choice(
                [{"K": "v"}, [], True, "x", 1.50, {"command": "no", "args": ["no"]}, None]
            )
    names = list(entry)
    dice.shuffle(names)
    return {name: entry[name] for name in names}


def any_file(dice: random.Random) -> dict[str, Any]:
    names = dice.sample(["a", "b c", "ünï", 'q"', "//", "--", "mcpServers", "x\ny"], dice.randrange(5))
    odd = [{"url": "https://a.example?k=1"}, {"command": "npx", "args": [1]}, None, {}]
    there = {name: an_entry(dice) if dice.random() < 0.85 else dice.choice(odd) for name in names}
    return {"before": {"mcpServers": {}}, "mcpServers": there, "after": [1, {"command": "x"}]}


@pytest.mark.parametrize("seed", SEEDS)
def test_any_file_comes_through_in_and_out(seed: int) -> None:
    dice = random.Random(seed)
    settings = any_file(dice)
    text = Writer(dice).text(settings)
    assert data(text) == settings, "the writer wrote something else"

    new = wrapped(text)

    assert wrapped(new) == new
    assert unwrapped(new) == text
    assert wrapped(wrapped(text, run="of another"), run=RUN) == new
    assert data(new) == {**settings, "mcpServers": dict(expected(settings["mcpServers"]))}
    some = [name for name in settings["mcpServers"] if dice.random() < 0.5]
    assert unwrapped(wrapped(text, some)) == text
    assert unwrapped(unwrapped(new, some)) == text


def expected(there: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, entry in there.items():
        command, args = (entry or {}).get("command"), (entry or {}).get("args", [])
        if command is None or not all(isinstance(word, str) for word in args):
            yield name, entry
            continue
        mark = (
            "devtrace-mcp-proxy"
            if "args" in entry or isinstance(command, list)
            else "devtrace-mcp-proxy (no args)"
        )
        ours = ["-c", RUN, mark, f"--name={name}", "--"]
        if isinstance(command, list):
            yield name, {**entry, "command": ["/bin/sh", *ours, *command]}
        else:
            yield name, {**entry, "command": "/bin/sh", "args": [*ours, command, *args]}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_file_that_a_client_wrote_anew_meanwhile_says_the_same_without_ours(seed: int) -> None:
    dice = random.Random(seed)
    settings = any_file(dice)
    by_client = json.dumps(data(wrapped(Writer(dice).text(settings))), indent=dice.choice([None, 2, "\t"]))

    assert data(unwrapped(by_client)) == settings


# --- for a screen -----------------------------------------------------------------------------------------


def test_variables_headers_and_what_is_secret_in_a_url_are_masked_for_a_screen() -> None:
    text = """{
  "mcpServers": {
    "a": {"command": "npx", "env": {"A": "one", "B": ["two"], "N": 1}}, // kept
    "b": {"url": "https://me:three@a.example/mcp?key=four", "headers": {"A": "five"}},
    "c": {"transport": {"command": "x", "env": {"C": "six"}}},
  },
}
"""

    shown = configs.masked(config(), text)

    assert not [word for word in ("one", "two", "three", "four", "five", "six") if word in shown]
    assert "https://[redacted:settings]@a.example/mcp[redacted:settings]" in shown
    assert shown.count("\n") == text.count("\n")
    assert servers(shown)["a"]["env"]["N"] == 1


# --- our own server ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [
    None, "", "{}", "{ }\n", '{"mcpServers": {}}', *(one for one in FILES.values() if "comments" not in one),
])  # fmt: skip
def test_our_own_server_is_added_once_and_taken_out_again(text: str | None) -> None:
    new = configs.with_own_server(config(), text, ["devtrace"])

    assert servers(new)["devtrace"] == {"command": "devtrace", "args": ["mcp", "serve"]}
    assert configs.with_own_server(config(), new, ["devtrace"]) == new
    assert wrapped(new, ["devtrace"]) == new
    rest = configs.without_own_server(config(), new)
    assert rest == text or (data(text or "{}") in ({}, {"mcpServers": {}}) and rest is None)


def test_what_stands_beside_our_own_server_is_kept_with_its_comments() -> None:
    text = FILES["comments"]

    new = configs.with_own_server(config(), text, ["devtrace"])

    assert "// the runner" in new
    assert configs.without_own_server(config(), new) == text
    noted = new.replace('"devtrace": {', '// ours\n    "devtrace": {')
    assert servers(configs.without_own_server(config(), noted) or "") == servers(text)
    assert "// ours" in (configs.without_own_server(config(), noted) or "")


def test_our_own_server_is_set_right_and_keeps_what_was_added_to_it() -> None:
    there = {"command": "/old/devtrace", "args": ["mcp", "serve", "--x"], "env": {"A": "b"}}
    text = json.dumps({"mcpServers": {"devtrace": there}})

    new = configs.with_own_server(config(), text, ["python", "-m", "devtrace"])

    args = ["-m", "devtrace", "mcp", "serve", "--x"]
    assert servers(new) == {"devtrace": {"command": "python", "args": args, "env": {"A": "b"}}}


def test_somebody_elses_server_of_our_name_is_left_alone() -> None:
    text = '{"mcpServers": {"devtrace": {"command": "npx", "args": ["devtrace"]}}}'

    for change in (lambda: configs.with_own_server(config(), text, ["devtrace"]),
                   lambda: configs.without_own_server(config(), text)):  # fmt: skip
        with pytest.raises(EnvironmentError, match='another server called "devtrace"'):
            change()


def test_a_list_that_is_none_is_an_error() -> None:
    with pytest.raises(EnvironmentError, match='something else than servers at "mcpServers"'):
        configs.with_own_server(config(), '{"mcpServers": [1]}', ["devtrace"])


def test_opencode_gets_our_own_server_as_it_wants_it() -> None:
    lists = {"": ("mcp",)}

    new = configs.with_own_server(config(lists=lists), None, ["devtrace"])
    second = configs.with_own_server(config(lists=lists), '{"mcp": {"servers": {}}}', ["devtrace"])

    entry = {"devtrace": {"type": "local", "command": ["devtrace", "mcp", "serve"]}}
    assert data(new) == {"$schema": "https://opencode.ai/config.json", "mcp": entry}
    assert data(second) == {"mcp": {"servers": entry}}
    assert configs.without_own_server(config(lists=lists), new) is None


def test_a_change_that_says_something_else_than_it_should_is_never_handed_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = '{"mcpServers": {"a": {"command": "x", "cwd": "y"}, "b": {"command": "z"}}}'
    monkeypatch.setattr(
        configs, "with_proxy", lambda *_: [(text.index('"y"'), text.index('"y"') + 3, '"no"')]
    )

    with pytest.raises(EnvironmentError, match="cannot be changed without harm"):
        wrapped(text, ["a"])
