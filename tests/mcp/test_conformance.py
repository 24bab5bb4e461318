"""The official conformance suite comes to the same with our proxy in between: both revisions, both sides.

Scenarios of extensions (tasks, skills, other grants of OAuth) and of authorization servers are left out: the
suite runs them for no revision, and our fixtures do not have them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.mcp.conformance import (
    LEGACY,
    MODERN,
    Check,
    Checks,
    client_checks,
    not_passed,
    passed,
    read,
    server_checks,
)
from tests.mcp.nasty_client import recorded
from tests.mcp.peers import listening, log, need, proxied, sdk_server

pytestmark = pytest.mark.timeout(180)

# What our own fixtures pass without a proxy: fewer would mean that less is compared than is said here.
SERVER_FLOORS = {MODERN: 150, LEGACY: 84}
CLIENT_FLOORS = {MODERN: 380, LEGACY: 245}
# A client asks for a token for the URL that it dials, and behind the proxy that is the proxy's.
OF_THE_URL = [
    Check(f"auth/{scenario}", "resource-parameter-matches-prm", "FAILURE")
    for scenario in (
        "metadata-default", "metadata-var1", "metadata-var2", "metadata-var3",
        "token-endpoint-auth-basic", "token-endpoint-auth-none", "token-endpoint-auth-post",
    )
]  # fmt: skip
SECRETS = (b"Bearer ", b"test-token-", b"as1-client-secret", b"code_verifier=")


@pytest.fixture
def suite(needs: Callable[..., None]) -> None:
    """It is installed."""
    need(needs)


def both(tmp_path: Path, check: Callable[[Path, bool], Checks]) -> tuple[Checks, Checks]:
    """Without the proxy and with it, each in a folder of its own; the second has a store."""
    direct, through = tmp_path / "direct", recorded(tmp_path / "proxied")
    direct.mkdir()
    return check(direct, False), check(through, True)


def calls(place: Path) -> list[dict[str, Any]]:
    return [event["data"] for event in log(place, "mcp_call")]


@pytest.mark.usefixtures("suite")
@pytest.mark.parametrize("revision", [MODERN, LEGACY])
def test_a_server_passes_the_same_checks_behind_the_proxy(tmp_path: Path, revision: str) -> None:
    def check(folder: Path, is_proxied: bool) -> Checks:
        with listening(sdk_server("http")) as url:
            if not is_proxied:
                return server_checks(url, revision, folder)
            with proxied(url, folder, "suite") as ours:
                return server_checks(ours, revision, folder)

    direct, through = both(tmp_path, check)

    assert passed(direct) >= SERVER_FLOORS[revision], not_passed(direct)
    assert through == direct
    assert_recorded(calls(tmp_path / "proxied"), revision)


def assert_recorded(found: list[dict[str, Any]], revision: str) -> None:
    """Calls of the suite, in the record."""
    outcomes = {(call["tool"], call["outcome"]) for call in found}
    assert {("test_simple_text", "result"), ("test_error_handling", "tool_error")} <= outcomes
    assert {(call["server"], call["transport"]) for call in found} == {("suite", "http")}
    assert revision in {call.get("revision") for call in found}
    if revision == MODERN:
        (rounds,) = {
            len(call.get("requests") or []) for call in found if call["tool"].endswith("_multi_round")
        }
        assert rounds == 2
    else:
        (asked,) = {tuple(call.get("asked") or []) for call in found if call["tool"] == "test_sampling"}
        assert asked == ("sampling/createMessage",)
        (progress,) = {call["progress"] for call in found if call["tool"] == "test_tool_with_progress"}
        assert progress == 3


@pytest.mark.usefixtures("suite")
@pytest.mark.parametrize("revision", [MODERN, LEGACY])
def test_a_client_passes_the_same_checks_through_the_proxy(tmp_path: Path, revision: str) -> None:
    """Signing in among them; all but that the token is for the URL that the client dials, which is ours."""

    def check(folder: Path, is_proxied: bool) -> Checks:
        return client_checks(revision, folder, behind_proxy=is_proxied)

    direct, through = both(tmp_path, check)

    assert passed(direct) >= CLIENT_FLOORS[revision], not_passed(direct)
    assert sorted((direct - through).elements()) == [one._replace(status="SUCCESS") for one in OF_THE_URL]
    assert sorted((through - direct).elements()) == OF_THE_URL
    assert credentials(tmp_path / "proxied") == []


def credentials(place: Path) -> list[str]:
    """Where a token or a secret of the suite stands in anything that the store has on disk."""
    files = [(file.name, file.read_bytes()) for file in (place / ".devtrace").rglob("*") if file.is_file()]
    return [f"{secret!r} in {name}" for name, data in files for secret in SECRETS if secret in data]


def test_the_folders_of_the_suite_are_read_as_scenarios(tmp_path: Path) -> None:
    for folder in ("server-tools-list-2026-11-22T11-55-31-336Z", "auth/scope-2026-11-22T11-55-31-336Z"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "checks.json").write_text(json.dumps([{"id": "one", "status": "SUCCESS"}]))

    found = [Check("auth/scope", "one", "SUCCESS"), Check("tools-list", "one", "SUCCESS")]
    assert sorted(read(tmp_path)) == found
