"""`devtrace policy test` shows what would be hidden of a text, where and why, and never the secret itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from devtrace.policy.reasons import RULE_REASONS, reason_of
from devtrace.policy.tokens import RULE_IDS
from tests.cli.conftest import Told
from tests.recorded import Recorded

Run = Callable[..., Told]

TEXT = (
    "$ make deploy\n"
    "export API_TOKEN=t0p-s3cret-1\n"
    "\x1b[31mremote:\x1b[0m https://ana:corr3ct-h0rse@git.example/x API_TOKEN=t0p-s3cret-1\n"
    "DB_PASSWORD=$FROM_ENV\n"
)
SECRETS = ("t0p-s3cret-1", "corr3ct-h0rse")


def test_each_secret_is_told_with_its_place_its_rule_and_the_reason(run: Run, repo: Path) -> None:
    (repo / "build.log").write_text(TEXT)

    told = run("policy", "test", "build.log")

    assert told.status == 0
    assert "2:18  export API_TOKEN=[redacted:secret-variable" in told.out
    assert "secret-variable: the value of a name that says it is a secret" in told.out
    assert "Would hide 3 secrets in 4 lines, " in told.out
    assert told.out.endswith(": 2 secret-variable, 1 url-password.\n")
    assert not any(secret in told.out for secret in SECRETS)
    assert "\x1b" not in told.out


def test_standard_input_and_json(run: Run) -> None:
    told = run("policy", "test", "-", "--json", stdin=TEXT)

    *hidden, examined = told.records
    assert [(one["line"], one["column"], one["rule"]) for one in hidden] == [
        (2, 18, "secret-variable"), (3, 30, "url-password"), (3, 68, "secret-variable"),
    ]  # fmt: skip
    assert examined == {
        "record": "examined", "lines": 4, "size": len(TEXT), "hidden": 3, "by_name": False,
    }  # fmt: skip
    assert not any(secret in told.out for secret in SECRETS)


def test_in_a_store_equal_secrets_have_equal_tags(run: Run, recorded: Recorded) -> None:
    hidden = run("policy", "test", "-", "--json", stdin=TEXT).records[:-1]

    assert hidden[0]["tag"] == hidden[2]["tag"] != hidden[1]["tag"]
    assert all(f":{one['tag']}]" in one["text"] for one in hidden)


def test_the_text_as_it_would_be_kept(run: Run) -> None:
    told = run("policy", "test", "-", "--redacted", stdin=TEXT)

    assert told.out.count("[redacted:") == 3
    assert told.out.splitlines()[3] == "DB_PASSWORD=$FROM_ENV"
    assert run("policy", "test", "-", "--redacted", stdin=told.out).out == told.out


def test_plain_text_holds_nothing_to_hide(run: Run) -> None:
    assert run("policy", "test", "-", stdin="just words\n").out == "Found nothing to hide in 1 line, 11 B.\n"
    assert run("policy", "test", "-").out == "Found nothing to hide in 0 lines, 0 B.\n"


def test_a_name_that_withholds_the_content_is_said(run: Run, repo: Path) -> None:
    (repo / ".env").write_text("A=b\n")

    assert ".env is withheld by its name" in run("policy", "test", ".env").out


def test_the_users_own_rules_count_and_are_named(run: Run, recorded: Recorded, repo: Path) -> None:
    (repo / ".devtrace" / "config.toml").write_text("[policy.rules]\nticket = 'ACME-[0-9]+'\n")

    told = run("policy", "test", "-", stdin="see ACME-4711\n")

    assert "ticket: a rule of your own, policy.rules.ticket" in told.out
    assert "ACME-4711" not in told.out


def test_what_the_environment_and_a_credential_file_hold_is_known(run: Run, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine a.example login ana password from-the-netrc\n")

    told = run(
        "policy", "test", "-",
        stdin="say from-the-netrc and from-the-env\n",
        env={"HOME": str(tmp_path), "MY_TOKEN": "from-the-env"},
    )  # fmt: skip

    assert "2 known-value" in told.out


def test_a_secret_beyond_the_first_block_is_told_by_its_line(run: Run) -> None:
    told = run("policy", "test", "-", "--json", stdin="plain\n" * 20_000 + "A_TOKEN=t0p-s3cret-1\n")

    assert [one["line"] for one in told.records[:-1]] == [20_001]


def test_of_a_long_line_only_what_stands_around_a_secret_is_told(run: Run) -> None:
    told = run("policy", "test", "-", "--json", stdin="A_TOKEN=t0p-s3cret-1 " * 3_000)

    assert len(told.records) == 3_001
    assert max(len(one["text"]) for one in told.records[:-1]) < 2_000
    assert [one["line"] for one in told.records[:3]] == [1, 1, 1]
    assert "t0p-s3cret" not in told.out


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_file_that_cannot_be_read_is_an_error(run: Run, name: str) -> None:
    told = run("--json-errors", "policy", "test", name)

    assert told.status == 2
    assert json.loads(told.err.splitlines()[-1])["error"]["code"] == "ERR_FILE_UNREADABLE"


def test_every_rule_has_its_reason() -> None:
    assert "a rule of your own" in reason_of("ticket")
    for rule in RULE_IDS | RULE_REASONS.keys():
        assert "a rule of your own" not in reason_of(rule)
