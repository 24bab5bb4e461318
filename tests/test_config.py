"""Settings are typed, bounded, and told apart from their defaults; agents have a table of names."""

from __future__ import annotations

import subprocess
import sys

import pytest

from devtrace import config, workspace
from devtrace.config import AGENTS, KEYS, Config, actor_of, parse_agent, parse_value
from devtrace.errors import EnvironmentError, UsageError
from devtrace.workspace import Workspace


@pytest.fixture
def store(tmp_path) -> Workspace:
    made = Workspace(tmp_path / ".devtrace")
    workspace.create(made)
    return made


def test_without_a_file_every_key_has_its_default(store):
    loaded = config.load(store)

    assert {key: loaded.get(key) for key in KEYS} == {key: spec.default for key, spec in KEYS.items()}
    assert not any(loaded.is_set(key) for key in KEYS)


def test_what_the_file_says_is_in_force(store):
    store.config.write_text('[shell]\noutput = false\nprivate = "skip"\n[follow]\npoll_ms = 5\n')

    loaded = config.load(store)

    assert loaded.flag("shell.output") is False
    assert loaded.text("shell.private") == "skip"
    assert loaded.number("follow.poll_ms") == 5
    assert loaded.is_set("shell.output")
    assert loaded.get("shell.nested") == "first"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[shell]\noutptu = true\n", "ERR_CONFIG_KEY"),
        ("[shell]\noutput = 1\n", "ERR_CONFIG_VALUE"),
        ("[shell]\noutput_head = true\n", "ERR_CONFIG_VALUE"),
        ("[shell]\noutput_head = -1\n", "ERR_CONFIG_VALUE"),
        ("[follow]\npoll_ms = 0\n", "ERR_CONFIG_VALUE"),
        ('[shell]\nprivate = "sometimes"\n', "ERR_CONFIG_VALUE"),
        ("[shell]\noutput = \n", "ERR_CONFIG_VALUE"),
        ("shell = 3\n", "ERR_CONFIG_KEY"),
        ("[shell.output]\ndeep = 1\n", "ERR_CONFIG_VALUE"),
        (b"[shell]\ndefault = '\xff'\n", "ERR_CONFIG_VALUE"),
    ],
)
def test_a_file_that_does_not_fit_is_an_error_with_its_path(store, text, code):
    store.config.write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(UsageError) as error:
        config.load(store)

    assert error.value.code == code
    assert error.value.context["path"] == str(store.config)
    assert error.value.hint


def test_a_misspelt_key_is_answered_with_the_likeliest(store):
    with pytest.raises(UsageError) as error:
        Config().get("shell.ouput")

    assert error.value.hint == "did you mean shell.output?"


def test_a_file_that_cannot_be_read_is_the_environments_error(store):
    store.config.mkdir()

    with pytest.raises(EnvironmentError):
        config.load(store)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("shell.output", "off", False),
        ("shell.output", "YES", True),
        ("shell.output_head", "131_072", 131072),
        ("shell.output_head", " 0 ", 0),
        ("shell.default", "/usr/local/bin/zsh", "/usr/local/bin/zsh"),
        ("shell.default", "", ""),
        ("shell.nested", "all", "all"),
    ],
)
def test_a_typed_value_gets_its_keys_type(key, text, value):
    parsed = parse_value(key, text)

    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("shell.output", "maybe"),
        ("shell.output", ""),
        ("shell.output_head", "64K"),
        ("shell.output_head", "-5"),
        ("shell.output_head", "٣"),
        ("shell.output_head", "9" * 25),
        ("shell.nested", "First"),
    ],
)
def test_a_value_that_does_not_fit_says_what_would(key, text):
    with pytest.raises(UsageError) as error:
        parse_value(key, text)

    assert error.value.code == "ERR_CONFIG_VALUE"
    assert KEYS[key].wants() in error.value.hint


def test_guests_read_the_snapshot_without_toml(store):
    store.config.write_text("[shell]\nnested_limit = 7\n")
    config.snapshot(store)

    assert Config.from_snapshot(store).number("shell.nested_limit") == 7
    assert config.snapshot_path(store).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "[]", "{", '{"shell.output": "no", "unknown": 1}'])
def test_a_broken_snapshot_means_the_defaults(store, content):
    config.snapshot_path(store).write_text(content)

    assert Config.from_snapshot(store).get("shell.output") is True


def test_the_snapshot_replaces_the_one_before_whole(store):
    config.snapshot(store, Config({"shell.output": False}))
    config.snapshot(store, Config())

    assert Config.from_snapshot(store).get("shell.output") is True
    assert [path.name for path in store.run.iterdir()] == ["config.json"]


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_of_the_table_is_itself(name):
    assert parse_agent(name) == name
    assert parse_agent(f" {name.upper()} ") == name


@pytest.mark.parametrize("text", ["custom:my-agent", "custom:Agent_2.1", "CUSTOM:x"])
def test_any_other_agent_is_custom(text):
    assert parse_agent(text) == "custom:" + text.split(":")[1]


@pytest.mark.parametrize(
    "text",
    ["", "clod", "custom:", "custom:a b", "custom:\x1b[31m", "custom:" + "x" * 65, "custom:é", "custom:-"],
)
def test_an_unknown_agent_is_refused_with_the_table(text):
    with pytest.raises(UsageError) as error:
        parse_agent(text)

    assert error.value.code == "ERR_AGENT_UNKNOWN"
    assert "claude-code" in error.value.hint


def test_a_person_acts_as_human_and_an_agent_under_its_name():
    assert actor_of("manual") == "human"
    assert actor_of("") == "human"
    assert actor_of("codex") == "agent:codex"
    assert actor_of("custom:mine") == "agent:custom:mine"


@pytest.mark.unmeasured
def test_the_shells_start_imports_nothing_heavy_with_the_settings(store):
    code = (
        "import sys; from pathlib import Path\n"
        "from devtrace import config; from devtrace.workspace import Workspace\n"
        f"config.load(Workspace(Path({str(store.dir)!r}))); config.parse_agent('codex')\n"
        "heavy = ('tomllib', 'tomlkit', 'json', 'dataclasses', 'difflib', 'inspect')\n"
        "print([name for name in heavy if name in sys.modules])"
    )

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout == "[]\n"


def test_settings_of_a_family_carry_the_names_that_the_user_gave_them(store):
    store.config.write_text("[policy.rules]\nticket = 'ACME-[0-9]+'\n[policy.allow]\nfixture = 'abc'\n")

    loaded = config.load(store)

    assert loaded.family("policy.rules") == {"ticket": "ACME-[0-9]+"}
    assert loaded.family("policy.allow") == {"fixture": "abc"}
    config.snapshot(store)
    assert Config.from_snapshot(store).family("policy.rules") == {"ticket": "ACME-[0-9]+"}


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("[policy.rules]\nticket = '('\n", "ERR_CONFIG_VALUE", "unterminated"),
        ("[policy.rules]\nticket = 'x*'\n", "ERR_CONFIG_VALUE", "empty text"),
        ("[policy.rules]\nticket = 3\n", "ERR_CONFIG_VALUE", "policy.rules.ticket"),
        ("[policy.rules]\nTicket_1 = 'x'\n", "ERR_CONFIG_KEY", "policy.rules.Ticket_1"),
        ("[policy.rules.deep]\nticket = 'x'\n", "ERR_CONFIG_VALUE", "policy.rules.deep"),
        ("[policy]\nrules = 'x'\n", "ERR_CONFIG_KEY", "policy.rules"),
        ("[retention]\nkinds = 'note'\n", "ERR_CONFIG_VALUE", "retention.kinds"),
    ],
)
def test_a_rule_or_a_list_of_days_that_cannot_be_one_is_an_error(store, text, code, says):
    store.config.write_text(text)

    with pytest.raises(UsageError) as error:
        config.load(store)

    assert error.value.code == code
    assert says in error.value.message
