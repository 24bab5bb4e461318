"""The clients' settings files with our hooks and without them: not a byte of the user's is touched."""

from __future__ import annotations

import json
import os
import random
import shlex
import subprocess
import sys
from collections.abc import Callable

import pytest

from devtrace.errors import EnvironmentError
from devtrace.sources.agents.hookfiles import HookFile, flat_hooks, is_ours, json_hooks, whole_file

PATH = ".client/settings.json"
EVENTS = ("PreToolUse", "PostToolUse", "Stop")
ELSEWHERE = "/opt/old venv/bin/python"


def command(event: str, python: str = "/usr/bin/python3") -> str:
    return f"'{python}' -I -S /lib/devtrace/services/agent_hook.py claude-code {event}"


def registered(event: str) -> str:
    return command(event) + " || true"


def older(event: str) -> str:
    return command(event, ELSEWHERE)


def hooked(make: Callable[[str], str] = command, events: tuple[str, ...] = EVENTS) -> HookFile:
    return json_hooks(PATH, events, make)


def group(event: str, make: Callable[[str], str] = registered) -> dict[str, object]:
    return {"matcher": "*", "hooks": [{"type": "command", "command": make(event), "timeout": 10}]}


USERS = {
    "other settings": '{\n  "permissions": {"allow": ["Bash(ls:*)", "Read"]},\n  "n": 1.0\n}\n',
    "four blanks": '{\n    "b": 1,\n    "a": {\n        "deep": [1,2,   3]\n    }\n}',
    "tabs": '{\n\t"model": "x",\n\t"hooks": {\n\t\t"Other": [{"hooks": []}]\n\t}\n}\n',
    "odd": '{ "z" :1\n,\n   "hooks":{"Stop" :[ 1 ]\n,"PreToolUse":[{"matcher":"Bash",\n"hooks":[]} ]}  }\n\n',
    "one line": '{"hooks": {"Stop": [{"hooks": [{"command": "say done"}]}]}, "é": "\\u00e9"}',
    "crlf": '{\n  "m": "x",\n  "hooks": {\n    "Stop": [\n      {"hooks": []}\n    ]\n  }\n}\n'.replace(
        "\n", "\r\n"
    ),
    "mark": '\ufeff{\n  "model": "x"\n}\n',
    "twice": '{\n  "hooks": {"Old": []},\n  "hooks": {\n    "Stop": [\n      {"hooks": []}\n    ]\n  }\n}\n',
    "big numbers": '{"n": 123456789012345678901234567890, "f": 1e400, "g": 0.10}',
}


@pytest.mark.parametrize("text", USERS.values(), ids=USERS)
def test_in_and_out_again_leaves_every_byte(text: str) -> None:
    merged = hooked().merge(text)

    assert list(hooked().found(merged)) != []
    assert hooked().without(merged) == text


@pytest.mark.parametrize("text", [None, "", "  \n", "{}", *USERS.values()])
def test_a_second_time_changes_nothing(text: str | None) -> None:
    merged = hooked().merge(text)

    assert hooked().merge(merged) == merged
    assert hooked().found(merged) == {event: registered(event) for event in EVENTS}


@pytest.mark.parametrize("text", USERS.values(), ids=USERS)
def test_what_the_user_has_stays_and_ours_is_added(text: str) -> None:
    before, after = json.loads(text.lstrip("\ufeff")), json.loads(hooked().merge(text).lstrip("\ufeff"))

    for event in EVENTS:
        assert after["hooks"][event].pop() == group(event)
        if not after["hooks"][event] and event not in before.get("hooks", {}):
            del after["hooks"][event]
    if not after["hooks"] and "hooks" not in before:
        del after["hooks"]
    assert after == before
    assert list(after) == list(before)


def test_a_file_that_is_not_there_becomes_one_that_holds_ours_alone() -> None:
    merged = hooked().merge(None)

    assert json.loads(merged) == {"hooks": {event: [group(event)] for event in EVENTS}}
    assert merged.startswith('{\n  "hooks": {\n    "PreToolUse": [\n')
    assert merged.endswith("}\n")
    assert hooked().without(merged) is None


@pytest.mark.parametrize("text", ["", " \r\n", "{}", "{ }\n", "\ufeff", "\ufeff{}"])
def test_an_empty_file_counts_as_an_empty_object(text: str) -> None:
    merged = hooked().merge(text)

    assert merged.startswith("\ufeff") == text.startswith("\ufeff")
    assert json.loads(merged.lstrip("\ufeff")) == json.loads(hooked().merge(None))


@pytest.mark.parametrize("text", ["", "{}", '{"hooks": {}}', *USERS.values()])
def test_where_nothing_is_ours_nothing_is_taken_out(text: str) -> None:
    assert hooked().without(text) == text
    assert hooked().found(text) == {}


def test_the_users_indentation_and_line_ends_are_taken_over() -> None:
    tabs, crlf = hooked().merge(USERS["tabs"]), hooked().merge(USERS["crlf"])

    assert '\n\t\t"PreToolUse": [\n\t\t\t{\n\t\t\t\t"matcher": "*",' in tabs
    assert crlf.count("\n") == crlf.count("\r\n") > 20
    assert '\n      {"hooks": []},\r\n      {\r\n        "matcher": "*",' in crlf


def test_other_fields_of_a_handler_come_with_it() -> None:
    named = json_hooks(PATH, ["BeforeTool"], command, name="devtrace", timeout=10_000)

    (found,) = json.loads(named.merge(None))["hooks"]["BeforeTool"]

    assert found["hooks"][0] == {
        "type": "command", "command": registered("BeforeTool"), "timeout": 10_000, "name": "devtrace",
    }  # fmt: skip


def test_a_hook_that_is_gone_does_not_stop_the_agent() -> None:
    """Python ends with 2 where its script is gone: that is what the clients call "blocked"."""
    gone = hooked(
        lambda event: shlex.join([sys.executable, "-I", "-S", "/nowhere/agent_hook.py", "codex", event])
    )

    for line in gone.found(gone.merge(None)).values():
        assert subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=False).returncode == 0


def test_a_hook_of_ours_without_the_guard_is_ours_too() -> None:
    assert is_ours(command("Stop"))
    assert is_ours(registered("Stop"))
    assert not is_ours(command("Stop") + " || exit 2")


# --- whose hook it is -------------------------------------------------------------------------------------


def test_another_installation_is_replaced_and_does_not_stand_beside() -> None:
    older_one = hooked(older, ("PreToolUse", "Stop", "Gone")).merge(USERS["other settings"])

    assert hooked().merge(older_one) == hooked().merge(USERS["other settings"])
    assert hooked().found(older_one) == {
        event: older(event) + " || true" for event in ("PreToolUse", "Stop", "Gone")
    }
    assert hooked().without(older_one) == USERS["other settings"]


THEIRS = (
    "echo devtrace/services/agent_hook.py is great",
    "python3 -I -S /home/ana/agent_hook.py.bak claude-code Stop",
    "/home/ana/bin/agent_hook.py claude-code Stop",
    "python3 -I -S /lib/my_agent_hook.py claude-code Stop",
    "sh -c 'python3 -I -S /lib/devtrace/services/agent_hook.py claude-code Stop'",
    "devtrace note 'the agent stopped'",
    "say 'devtrace",
)


@pytest.mark.parametrize("theirs", THEIRS)
def test_somebody_elses_hook_that_mentions_devtrace_stays(theirs: str) -> None:
    handler = {"type": "command", "command": theirs}
    text = json.dumps({"hooks": {"Stop": [{"matcher": "*", "hooks": [handler]}]}}, indent=4)

    assert not is_ours(theirs)
    assert theirs not in hooked().found(hooked().merge(text)).values()
    assert hooked().without(hooked().merge(text)) == text


def test_a_hook_that_the_user_put_beside_ours_stays() -> None:
    settings = json.loads(hooked().merge(None))
    theirs = {"type": "command", "command": "make lint"}
    settings["hooks"]["Stop"][0]["hooks"].append(theirs)

    rest = hooked().without(json.dumps(settings, indent=2))

    assert rest is not None
    assert json.loads(rest) == {"hooks": {"Stop": [{"matcher": "*", "hooks": [theirs]}]}}


def test_one_that_stands_there_twice_is_put_right() -> None:
    settings = json.loads(hooked().merge(None))
    settings["hooks"]["Stop"] *= 2

    assert json.loads(hooked().merge(json.dumps(settings))) == json.loads(hooked().merge(None))


# --- what cannot be used ----------------------------------------------------------------------------------

BROKEN = {
    "comment": '{\n  // mine\n  "a": 1\n}\n',
    "trailing comma": '{"a": 1,}',
    "torn": '{"hooks": {"Stop": [',
    "list": "[]",
    "text": '"hooks"',
    "two": "{} {}",
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_what_is_no_json_object_is_an_error_with_a_hint(text: str) -> None:
    for use in (hooked().merge, hooked().without, hooked().found):
        with pytest.raises(EnvironmentError) as caught:
            use(text)
        assert caught.value.code == "ERR_AGENT_HOOKS_FILE"
        assert PATH in caught.value.message
        assert caught.value.hint.endswith("it was left as it is")


@pytest.mark.parametrize("text", ['{"hooks": []}', '{"hooks": null}', '{"hooks": {"Stop": {"hooks": []}}}'])
def test_hooks_of_another_shape_are_an_error(text: str) -> None:
    with pytest.raises(EnvironmentError, match="has something else than hooks"):
        hooked().merge(text)

    assert hooked().without(text) == text


# --- the other shapes -------------------------------------------------------------------------------------


def test_flat_hooks_stand_in_the_list_themselves() -> None:
    file = flat_hooks(".cursor/hooks.json", ["stop", "afterFileEdit"], command, version=1)

    merged = file.merge(None)

    stop, edit = ([{"command": registered(event)}] for event in ("stop", "afterFileEdit"))
    assert json.loads(merged) == {"version": 1, "hooks": {"stop": stop, "afterFileEdit": edit}}
    assert file.merge(merged) == merged
    assert file.without(merged) is None


def test_flat_hooks_keep_what_is_there() -> None:
    file = flat_hooks(".cursor/hooks.json", ["stop"], command, version=1)
    text = '{\n  "hooks": {\n    "stop": [\n      {"command": "./mine.sh"}\n    ]\n  }\n}\n'

    merged = file.merge(text)

    assert json.loads(merged) == {
        "hooks": {"stop": [{"command": "./mine.sh"}, {"command": registered("stop")}]}, "version": 1,
    }  # fmt: skip
    assert json.loads(file.without(merged) or "") == json.loads(text) | {"version": 1}


def test_a_file_that_is_ours_alone() -> None:
    file = whole_file("plugins/devtrace.js", "// devtrace\nrun()\n", "// devtrace\n")

    assert file.merge(None) == file.merge("") == file.merge("// devtrace\nold()\n") == "// devtrace\nrun()\n"
    assert file.without("// devtrace\nold()\n") is None
    assert file.found("// devtrace\nold()\n") != {}


def test_a_file_of_that_name_that_is_not_ours_stays() -> None:
    file = whole_file("plugins/devtrace.js", "// devtrace\nrun()\n", "// devtrace\n")

    with pytest.raises(EnvironmentError, match="is there already and is not ours"):
        file.merge("mine()\n")

    assert file.without("mine()\n") == "mine()\n"
    assert file.found("mine()\n") == {}


# --- anything -----------------------------------------------------------------------------------------------


def anything(dice: random.Random, depth: int = 0) -> object:
    if depth > 3 or dice.random() < 0.4:
        return dice.choice([None, True, 1, 2.5, "", 'x"\\{[,é\u2028', "*", command("Stop"), older("Stop")])
    if dice.random() < 0.5:
        return [anything(dice, depth + 1) for _ in range(dice.randrange(4))]
    names = ("hooks", "Stop", "PreToolUse", "matcher", "command", "a,b", '}"')
    return {dice.choice(names): anything(dice, depth + 1) for _ in range(dice.randrange(5))}


@pytest.mark.parametrize("seed", range(*(int(part) for part in os.environ.get("SEEDS", "0-25").split("-"))))
def test_any_settings_come_through_in_and_out(seed: int) -> None:
    dice = random.Random(seed)
    text = shuffled_settings(dice)
    rest = hooked().without(text)
    assert rest is not None
    assert hooked().found(rest) == {}
    try:
        merged = hooked().merge(text)
    except EnvironmentError:  # hooks of another shape
        return

    assert hooked().merge(merged) == merged
    assert hooked().found(merged) == {event: registered(event) for event in EVENTS}
    assert json.loads(hooked().without(merged) or "") == kept(json.loads(rest))


def shuffled_settings(dice: random.Random) -> str:
    hooks = {event: anything(dice) for event in ("Stop", "PreToolUse", "Old") if dice.random() < 0.5}
    hooks |= {event: [anything(dice) for _ in range(3)] for event in hooks if dice.random() < 0.8}
    settings = {"a": anything(dice), "hooks": hooks if dice.random() < 0.9 else anything(dice), "b": 1}
    separators = dice.choice([None, (",", ":"), (" , ", " :\n")])
    return json.dumps(settings, indent=dice.choice([None, 1, "\t"]), separators=separators)


def kept(settings: dict[str, object]) -> dict[str, object]:
    """What stays when ours go again: without the containers that are empty then."""
    hooks = settings.get("hooks")
    if isinstance(hooks, dict):
        left = {event: items for event, items in hooks.items() if items or event not in EVENTS}
        settings = {**settings, "hooks": left}
        if not left:
            del settings["hooks"]
    return settings
