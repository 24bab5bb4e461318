"""The command line of the proxy: options end where the server's command begins."""

from __future__ import annotations

import subprocess
import sys

import pytest

from devtrace.cli.mcp_proxy import _name_of, main, parse
from devtrace.errors import UsageError


def test_what_follows_the_dashes_is_the_servers_own() -> None:
    asked = parse(["--name", "files", "--", "npx", "-y", "server", "--name", "x", "--help", "--", "y"])

    assert (asked.name, asked.help) == ("files", False)
    assert asked.command == ["npx", "-y", "server", "--name", "x", "--help", "--", "y"]


def test_a_command_needs_no_dashes_in_front() -> None:
    assert parse(["--frames", "npx", "-y", "server"]).command == ["npx", "-y", "server"]


def test_options_take_their_value_in_either_form() -> None:
    assert parse(["--name=a b", "--", "x"]).name == "a b"
    asked = parse(["--url", "https://example.com/mcp", "--port=8790", "--header", "X-Team: a:b"])
    assert (asked.url, asked.port, asked.headers) == ("https://example.com/mcp", 8790, {"X-Team": "a:b"})


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "say which server"),
        (["--"], "say which server"),
        (["--nope", "--", "x"], "no such option: --nope"),
        (["--name"], "--name wants a value"),
        (["--name", "--", "x"], "--name wants a value"),
        (["--url", "https://a/", "--", "x"], "two servers"),
        (["--url", "ftp://a/"], "no http"),
        (["--url", "https://"], "no http"),
        (["--url", "http://a:99999/"], "no http"),
        (["--port", "80", "--", "x"], "belong to --url"),
        (["--header", "A: b", "--", "x"], "belong to --url"),
        (["--url", "http://a/", "--port", "0"], "0 is no port"),
        (["--url", "http://a/", "--port", "70000"], "70000 is no port"),
        (["--url", "http://a/", "--port", "x"], "x is no port"),
        (["--url", "http://a/", "--header", "nothing"], "NAME:VALUE"),
        (["--url", "http://a/", "--header", "A: b\r\nC: d"], "NAME:VALUE"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        parse(words)

    assert caught.value.code == "ERR_USAGE"


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--", "/usr/bin/my-server", "a"], "my-server"),
        (["--", "npx", "-y", "@scope/server-filesystem", "."], "server-filesystem"),
        (["--", "python3", "-m", "mcp_server_git"], "mcp_server_git"),
        (["--", "uv", "run", "weather.py"], "weather.py"),
        (["--", "node", "dist/index.js", "stdio"], "index.js"),
        (["--", "npx"], "npx"),
        (["--url", "https://mcp.example.com:443/mcp"], "mcp.example.com"),
    ],
)
def test_a_server_without_a_name_is_called_by_what_it_is(words: list[str], name: str) -> None:
    assert _name_of(parse(words)) == name


def test_help_is_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: devtrace mcp proxy")


def test_a_server_that_is_not_there_is_said_with_a_shells_status() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "devtrace", "--json-errors", "mcp", "proxy", "--", "no-such-server"],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip

    assert done.returncode == 127
    assert done.stdout == ""
    assert "no-such-server cannot be started" in done.stderr
    assert '"code": "ERR_TARGET_START"' in done.stderr


def test_a_header_takes_its_value_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_TOKEN", "abc")

    asked = parse(["--url", "http://a/", "--header", "Authorization: Bearer $TRACKER_TOKEN"])

    assert asked.headers == {"Authorization": "Bearer abc"}
