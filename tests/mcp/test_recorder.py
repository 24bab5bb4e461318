"""The recording process may die, stand still or find no place to write: client and server notice nothing.

Each test is played directly and behind the proxy, as in test_stdio_bytes.py; the trouble is made behind the
proxy only, and afterwards the record says what it lacks.

Not here: what the recording process makes of what it gets (tests/services/test_mcp_recorder.py).
"""

from __future__ import annotations

import os
import resource
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.mcp.nasty_client import NAME, PROXIED, Outcome, Talk, Way, children, command_line, played
from tests.mcp.peers import log
from tests.processes import CAN_OBEY, DEADLINE, obey_permissions

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="because there is no /proc")
LARGE = 1 << 20


def recorders(talk: Talk) -> list[int]:
    """The recording process, of a talk behind the proxy: a child of it that is not the server."""
    lines = {pid: command_line(pid) for pid in children(talk.process.pid)}
    return [pid for pid, line in lines.items() if line and b"nasty_server" not in line]


def recorder(talk: Talk) -> int:
    """The one there is; it is waited for."""
    deadline = time.monotonic() + DEADLINE
    while not (found := recorders(talk)):
        assert time.monotonic() < deadline, "nothing records"
    return found[0]


def is_proxied(talk: Talk) -> bool:
    return talk.way is PROXIED


def killed(talk: Talk) -> None:
    """Its recording process, by kill -9; it is gone when this returns."""
    if is_proxied(talk):
        pid = recorder(talk)
        os.kill(pid, signal.SIGKILL)
        while pid in recorders(talk) and _state(pid) != b"Z":
            pass


def _state(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    return b"Z"


def calls(talk: Talk, first: int, count: int, size: int = 10) -> None:
    for id in range(first, first + count):
        talk.call("large", id, {"bytes": size})


def told(place: Path, kind: str, *, is_over: bool = True) -> list[dict[str, Any]]:
    return [event["data"] for event in log(place, kind, is_over=is_over)]


def requests(place: Path, *, is_over: bool = True) -> list[int]:
    """The ids of the calls that the record has."""
    return sorted(int(call["request"]) for call in told(place, "mcp_call", is_over=is_over))


def until_recorded(talk: Talk, ids: range) -> None:
    """Until these calls are in the record of a talk behind the proxy, while it goes on."""
    deadline = time.monotonic() + DEADLINE
    while is_proxied(talk) and not set(ids) <= set(requests(talk.folder, is_over=False)):
        assert time.monotonic() < deadline, f"not all of {ids} are recorded"


def test_every_call_is_in_the_record_where_nothing_goes_wrong(tmp_path: Path) -> None:
    """Many, as fast as they can be asked: the two directions are pumped by two threads."""

    def play(talk: Talk) -> Outcome:
        talk.initialize()
        calls(talk, 0, 400)
        return talk.finish()

    played(play, tmp_path)
    place = tmp_path / "proxied"
    assert Counter(call["outcome"] for call in told(place, "mcp_call")) == {"result": 400}
    assert requests(place) == list(range(400))
    assert {(call["server"], call["tool"]) for call in told(place, "mcp_call")} == {(NAME, "large")}
    (server,) = told(place, "mcp_server")
    assert server["counts"]["to_server"] == {
        "initialize": 1,
        "notifications/initialized": 1,
        "tools/call": 400,
    }
    assert told(place, "gap") == []


def test_kill_9_of_the_recording_process_costs_no_byte_and_is_told(tmp_path: Path) -> None:
    def play(talk: Talk) -> Outcome:
        talk.initialize()
        calls(talk, 0, 20)
        until_recorded(talk, range(20))
        killed(talk)
        calls(talk, 20, 20)
        return talk.finish()

    assert played(play, tmp_path).ended == "exit 0"
    place = tmp_path / "proxied"
    assert [gap["reason"] for gap in told(place, "gap")] == ["mcp_recorder_stopped"]
    assert set(requests(place)) > set(range(20))
    assert requests(place)[-10:] == list(range(30, 40))


def test_kill_9_before_anything_was_recorded_is_told_as_a_gap_that_is_not_too_small(tmp_path: Path) -> None:
    """Copies that stood in the pipe are gone with it; None is honest, a number has to be enough."""
    answered_us: dict[int, int] = {}

    def play(talk: Talk) -> Outcome:
        talk.initialize()
        for id in range(40):
            if id == 20:
                killed(talk)
            calls(talk, id, 1)
            answered_us[id] = time.time_ns() // 1000
        return talk.finish()

    assert played(play, tmp_path).ended == "exit 0"
    place = tmp_path / "proxied"
    missing = sorted(set(range(40)) - set(requests(place)))
    (gap,) = log(place, "gap")
    assert gap["data"]["reason"] == "mcp_recorder_stopped"
    assert gap["data"].get("count") is None or gap["data"]["count"] >= len(missing)
    assert [id for id in missing if gap["started_us"] > answered_us[id]] == []


def test_kill_9_again_and_again_costs_no_byte_and_is_told(tmp_path: Path) -> None:
    def play(talk: Talk) -> Outcome:
        talk.initialize()
        for round_ in range(8):
            calls(talk, 10 * round_, 10)
            if is_proxied(talk) and recorders(talk):
                killed(talk)
        return talk.finish()

    assert played(play, tmp_path).ended == "exit 0"
    assert "mcp_recorder_stopped" in [gap["reason"] for gap in told(tmp_path / "proxied", "gap")]


def test_kill_9_in_the_middle_of_a_large_message_costs_no_byte(tmp_path: Path) -> None:
    def play(talk: Talk) -> Outcome:
        talk.initialize()
        talk.say(id=1, method="tools/call", params={"name": "large", "arguments": {"bytes": 5 * LARGE}})
        talk.until(lambda: len(talk.received) > LARGE)
        killed(talk)
        talk.answer(1)
        calls(talk, 2, 3)
        return talk.finish()

    assert played(play, tmp_path).ended == "exit 0"
    assert told(tmp_path / "proxied", "gap") != []


def test_a_recording_process_that_stands_still_costs_no_byte(tmp_path: Path) -> None:
    """More than any pipe holds passes meanwhile; what waited is recorded when it goes on."""

    def play(talk: Talk) -> Outcome:
        talk.initialize()
        stopped = recorder(talk) if is_proxied(talk) else 0
        if stopped:
            os.kill(stopped, signal.SIGSTOP)
        calls(talk, 0, 8, LARGE)
        if stopped:
            os.kill(stopped, signal.SIGCONT)
        calls(talk, 8, 2)
        return talk.finish()

    assert played(play, tmp_path).ended == "exit 0"
    assert requests(tmp_path / "proxied") == list(range(10))


def test_a_recording_process_that_never_goes_on_does_not_keep_the_proxy(tmp_path: Path) -> None:
    stopped = []

    def play(talk: Talk) -> Outcome:
        talk.initialize()
        if is_proxied(talk):
            stopped.append(recorder(talk))
            os.kill(stopped[0], signal.SIGSTOP)
        calls(talk, 0, 4, LARGE)
        outcome = talk.finish()
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)  # or it would stay for ever
        return outcome

    assert played(play, tmp_path).ended == "exit 0"
    place = tmp_path / "proxied"
    assert requests(place) == list(range(4)) or told(place, "gap") != []


@pytest.mark.skipif(not CAN_OBEY, reason="because root obeys no permissions here")
def test_a_spool_that_cannot_be_written_for_a_while_costs_no_byte_and_is_told(tmp_path: Path) -> None:
    def play(talk: Talk) -> Outcome:
        talk.initialize()
        calls(talk, 0, 5)
        until_recorded(talk, range(5))
        spool = talk.folder / ".devtrace" / "spool"
        mode = spool.stat().st_mode & 0o777
        spool.chmod(0o500)
        calls(talk, 5, 20, LARGE // 10)
        spool.chmod(mode)
        calls(talk, 25, 5)
        return talk.finish()

    assert played(play, tmp_path, preexec_fn=obey_permissions).ended == "exit 0"
    assert is_whole(tmp_path / "proxied", range(30))


@pytest.mark.skipif(not CAN_OBEY, reason="because root obeys no permissions here")
def test_a_store_that_can_never_be_written_costs_no_byte(tmp_path: Path) -> None:
    def shut(way: Way, place: Path) -> None:
        for folder in (place / ".devtrace", place / ".devtrace" / "spool"):
            folder.chmod(0o500)

    def play(talk: Talk) -> Outcome:
        talk.initialize()
        calls(talk, 0, 20)
        return talk.finish()

    outcome = played(play, tmp_path, preexec_fn=obey_permissions, prepare=shut)
    assert (outcome.ended, outcome.stderr) == ("exit 0", b"")


def test_a_disk_that_is_full_costs_no_byte(tmp_path: Path) -> None:
    """No file of the proxy or of its recording process gets longer than that: EFBIG, as ENOSPC would be."""

    def play(talk: Talk) -> Outcome:
        talk.initialize()
        calls(talk, 0, 20, 1000)
        return talk.finish()

    outcome = played(play, tmp_path, preexec_fn=no_large_files)
    assert (outcome.ended, outcome.stderr) == ("exit 0", b"")


def no_large_files() -> None:
    """For `preexec_fn`."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))


def is_whole(place: Path, ids: range) -> bool:
    """Every call is in the record, or a gap says that some are not."""
    return requests(place) == list(ids) or told(place, "gap") != []
