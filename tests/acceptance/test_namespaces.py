"""A host in another PID namespace than the shell, as with an agent's sandbox or a container."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.acceptance.hosts import SHELL, Piped, Place, until

OWN_PROC = ("unshare", "--pid", "--fork", "--mount-proc")
OUTER_PROC = ("unshare", "--pid", "--fork")
WAYS = {"a /proc of its own": OWN_PROC, "the outer /proc": OUTER_PROC}

# An agent in a sandbox: a program that is no shell runs three commands, and each stays until it was seen.
AGENT = """\
import subprocess, sys
for number, end in enumerate(("exit 3", "kill -9 $$", "exec sh -c 'exit 5'")):
    subprocess.run(["bash", "-c", f"echo {number}; until [ -e go{number} ]; do sleep 0.01; done; {end}"])
"""
ENDS = [(3, "shell"), (137, "pidfd"), (5, "pidfd")]


@pytest.fixture
def place(tmp_path: Path, needs: Callable[..., None]) -> Place:
    needs("unshare")
    if subprocess.run([*OWN_PROC, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("because a PID namespace needs root, or a kernel that gives one to users")
    (tmp_path / "agent.py").write_text(AGENT)
    place = Place(tmp_path / "repo")
    place.devtrace("init")
    return place


def watch_agent(shell: Piped) -> None:
    """Let each command of the agent go on once it is seen to run."""
    for number in range(len(ENDS)):
        begins = f"$ echo {number};"
        until(partial(runs, shell, begins), f"{begins} runs")
        (shell.place.root / f"go{number}").touch()


def runs(shell: Piped, begins: str) -> bool:
    assert shell.process.poll() is None, shell.ends()
    return any(title.startswith(begins) for title in shell.place.running())


def check_agent(place: Place) -> None:
    place.devtrace("sessions")
    place.is_sound()
    assert place.gaps() == {}
    nested = place.commands(depth=1)
    assert [command.trusted for command in nested] == [1, 1, 1]
    assert [command.source for command in nested] == ["bash_env"] * 3
    assert [command.parent for command in nested] == [place.commands()[0].id] * 3
    told = [(command.exit_code, command.exit_source) for command in nested]
    # Before Linux 6.15 the kernel tells the status of no process but a zombie, which these may be no longer.
    assert [one for one, end in zip(told, ENDS, strict=True) if one not in (end, (None, "unknown"))] == []
    assert told[0] == ENDS[0]


@pytest.mark.parametrize("way", WAYS)
def test_the_shells_of_an_agent_in_a_sandbox_are_recorded_and_believed(place: Place, way: str) -> None:
    agent = [*WAYS[way], sys.executable, str(place.root.parent / "agent.py")]
    with Piped(place, "--agent", "codex", "--", *agent) as shell:
        watch_agent(shell)

        assert shell.ends()[:2] == (0, b"0\n1\n2\n")

    check_agent(place)
    assert place.ask("SELECT DISTINCT actor FROM events WHERE parent IS NOT NULL") == [("agent:codex",)]


@pytest.mark.parametrize("way", WAYS)
def test_a_sandbox_at_the_prompt_is_recorded_and_believed(place: Place, way: str) -> None:
    with Piped(place) as shell:
        shell.says(f"{' '.join(WAYS[way])} {sys.executable} {place.root.parent / 'agent.py'}")
        watch_agent(shell)

        assert shell.ends()[:2] == (0, b"0\n1\n2\n")

    check_agent(place)


@pytest.mark.parametrize("way", WAYS)
def test_a_command_in_a_sandbox_is_seen_while_it_runs_and_when_it_is_killed(place: Place, way: str) -> None:
    words = "echo $PPID; until [ -e go ]; do sleep 0.01; done"
    sandboxed = [
        *WAYS[way],
        sys.executable,
        "-c",
        f"import subprocess; subprocess.run(['bash', '-c', {words!r}])",
    ]
    with Piped(place, "--", *sandboxed) as shell:
        until(lambda: any("until" in title and "import" not in title for title in place.running()), "it runs")
        inside = next(pid for pid in descendants(shell.pid) if comm(pid) == "bash")  # below it: its sleep
        os.kill(inside, signal.SIGKILL)
        until(lambda: place.commands(depth=1), "its end is seen")

        shell.ends()

    (killed,) = place.commands(depth=1)
    assert (killed.exit_code, killed.exit_source, killed.trusted) == (137, "pidfd", 1)


@pytest.mark.parametrize("way", WAYS)
def test_a_whole_session_inside_a_namespace_is_recorded_and_believed(place: Place, way: str) -> None:
    with Piped(place, argv=(*WAYS[way], *SHELL)) as shell:
        shell.says(f"{sys.executable} {place.root.parent / 'agent.py'}", "exit 4")
        watch_agent(shell)

        assert shell.ends()[:2] == (4, b"0\n1\n2\n")

    check_agent(place)
    assert [command.trusted for command in place.commands()] == [2, 2]
    (session,) = place.sessions()
    assert (session["status"], session["exit_code"]) == ("ended", 4)


def test_a_session_inside_a_namespace_is_no_orphan_for_those_outside(place: Place) -> None:
    with Piped(place, argv=(*OWN_PROC, *SHELL)) as shell:
        shell.says("echo first").waits_for("first")
        until(lambda: place.texts() == ["echo first"], "the first command is stored")

        place.devtrace("sessions")
        assert [session["status"] for session in place.sessions()] == ["active"]
        with Piped(place) as other:
            other.says("true").ends()
        assert [session["status"] for session in place.sessions()] == ["active", "ended"]

        shell.says("echo second").ends()

    assert place.texts()[-1] == "echo second"
    assert [session["status"] for session in place.sessions()] == ["ended", "ended"]


def test_hundreds_of_sandboxes_whose_shells_all_call_process_1_their_parent_are_all_recorded(
    place: Place,
) -> None:
    count = 20
    place.devtrace("config", "set", "shell.nested_limit", "5")
    script = place.root.parent / "many.py"
    sandboxed = [*OWN_PROC, "env", "bash", "-c"]
    script.write_text(
        f"import subprocess\nfor n in range({count}):\n"
        f"    subprocess.run([*{sandboxed}, f'exit {{n % 7}} # {{n}}'])\n"
    )

    assert place.devtrace("shell", "--", sys.executable, str(script)).returncode == 0

    nested = {command.command: command.exit_code for command in place.commands(depth=1)}
    assert nested == {f"exit {number % 7} # {number}": number % 7 for number in range(count)}


def descendants(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found[1:]


def comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
