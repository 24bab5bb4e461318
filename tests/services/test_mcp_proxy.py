"""Whose record a proxy's calls go into: its own environment says it, one above it does, or nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devtrace.ids import new_session_id
from devtrace.services.mcp_proxy.run import belonging
from devtrace.workspace import Workspace, create

SESSION, SPAN = "0192aaaaaaaa7bbb8ccc0123456789ab", "0011223344556677"

ASK = """
import json, os
from devtrace.services.mcp_proxy.run import belonging
found = belonging(os.environ)
print(json.dumps(found and [str(found.workspace.dir), *found[1:]]))
"""


def told(store: Path) -> dict[str, str]:
    return {
        "DEVTRACE_DIR": str(store),
        "DEVTRACE_SESSION": SESSION,
        "DEVTRACE_SPAN": SPAN,
        "DEVTRACE_AGENT": "claude-code",
        "DEVTRACE_FIFO": "/nowhere/fifo",
    }


def bare() -> dict[str, str]:
    """What a client leaves of an environment for its servers."""
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    place = Workspace(tmp_path / ".devtrace")
    create(place)
    return place.dir


def test_in_a_traced_shell_calls_belong_to_its_session(store: Path) -> None:
    found = belonging(told(store))

    assert found is not None
    assert (found.session, found.is_own, found.span) == (SESSION, False, SPAN)
    assert (found.agent, found.fifo) == ("claude-code", "/nowhere/fifo")


@pytest.mark.skipif(sys.platform != "linux", reason="another process's environment is read from /proc")
def test_a_client_that_hands_on_no_environment_is_asked_itself(store: Path) -> None:
    """The client has the shell's environment, its wrapper and the server have not."""
    inner = [sys.executable, "-c", ASK]
    wrapper = [
        sys.executable,
        "-c",
        f"import subprocess; subprocess.run({inner!r}, env={bare()!r}, check=True)",
    ]
    client = f"import subprocess; subprocess.run({wrapper!r}, env={bare()!r}, check=True)"
    done = subprocess.run(
        [sys.executable, "-c", client],
        env={**bare(), **told(store)}, capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip

    assert done.stdout.strip() == (
        f'["{store}", "{SESSION}", false, "{SPAN}", "claude-code", "/nowhere/fifo"]'
    )


def test_a_session_whose_store_is_gone_is_nobodys(tmp_path: Path) -> None:
    assert belonging(told(tmp_path / "gone" / ".devtrace")) is None


@pytest.mark.parametrize("name", ["DEVTRACE_SESSION", "DEVTRACE_SPAN"])
def test_an_id_that_is_none_is_not_believed(store: Path, name: str) -> None:
    found = belonging({**told(store), name: "../../x"})

    assert found is None if name == "DEVTRACE_SESSION" else found is not None and found.span is None


@pytest.mark.usefixtures("store")
def test_outside_of_shells_it_has_a_session_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from devtrace.services.mcp_proxy import run as mcp_proxy

    (tmp_path / ".devtrace" / "devtrace.db").touch()
    below = tmp_path / "src"
    below.mkdir()
    monkeypatch.chdir(below)
    monkeypatch.setattr(mcp_proxy, "_environ_of", lambda pid: {})

    found = belonging({})

    assert found is not None
    assert found.is_own
    assert len(found.session) == len(new_session_id())
    assert found.workspace.dir == tmp_path / ".devtrace"


def test_where_there_is_no_store_nothing_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from devtrace.services.mcp_proxy import run as mcp_proxy

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mcp_proxy, "_environ_of", lambda pid: {})

    assert belonging({}) is None
