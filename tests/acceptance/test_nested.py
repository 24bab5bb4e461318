"""What an agent's own shells run: recorded one level deep, and nothing of it seen by the script."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.hosts import SHELL, Event, Place, until
from tests.processes import environment

# An agent is a program that is no shell: it runs each command and notes what it saw of it.
AGENT = """\
import json, os, subprocess, time
orders, seen = json.load(open("orders.json")), []
for order in orders:
    done = subprocess.run(order.pop("argv"), capture_output=True, **order)
    seen.append([done.returncode, done.stdout.decode("latin-1"), done.stderr.decode("latin-1")])
json.dump(seen, open("seen.json", "w"))
subprocess.run(["bash", "-c", "true # the last"])
while not os.path.exists("leave"):  # a file, so that an agent which nobody waits for hangs nobody
    time.sleep(0.01)  # nothing tells of a file without an inotify of its own
"""
LAST = "true # the last"
OURS = {"BASH_ENV", "TRACEPARENT", "ZDOTDIR", "__devtrace_shell", "PIPESTATUS", "_"}

Seen = tuple[int, str, str]


class Agent:
    """An agent under `devtrace run`."""

    def __init__(self, place: Place):
        self.place = place
        self.env: dict[str, str] = {}
        (place.root / "agent.py").write_text(AGENT)
        place.devtrace("init")

    def runs(
        self, *orders: list[str] | dict[str, Any], seen_first: bool = False, stays: bool = True
    ) -> list[Seen]:
        """Run the commands; `seen_first`: each waits for a file `go`, which comes when it is seen to run."""
        each = [order if isinstance(order, dict) else {"argv": order} for order in orders]
        (self.place.root / "orders.json").write_text(json.dumps(each))
        host = subprocess.Popen(
            [*SHELL[:3], "run", "--agent", "codex", "--", sys.executable, "agent.py"],
            cwd=self.place.root,
            env=environment(**self.env),
        )
        try:
            if seen_first:
                until(lambda: len(self.place.running()) > 1, "the nested command is seen to run")
                (self.place.root / "go").touch()
            if stays:  # the shells of a program that is gone itself are not known to be its own
                until(self._has_heard_all, "the last nested command is recorded")
            (self.place.root / "leave").touch()
            assert host.wait(60) == 0
        finally:
            host.kill()
            host.wait()
        return [
            (code, out, err) for code, out, err in json.loads((self.place.root / "seen.json").read_text())
        ]

    def _has_heard_all(self) -> bool:
        return any(event.command == LAST for event in self.place.events())

    def bare(self, *argv: str) -> Seen:
        """The same without us."""
        env = {name: value for name, value in environment().items() if name not in OURS}
        done = subprocess.run(argv, cwd=self.place.root, env=env, capture_output=True, check=False)
        return done.returncode, done.stdout.decode("latin-1"), done.stderr.decode("latin-1")

    @property
    def nested(self) -> list[Event]:
        """What was recorded below the agent, which is sound."""
        self.place.is_sound()
        assert self.place.gaps() == {}, [e.data for e in self.place.events(None, "gap")]
        (outer,) = self.place.commands()
        found = [event for event in self.place.commands(depth=1) if event.command != LAST]
        assert {event.parent for event in found} <= {outer.id}
        return found

    @property
    def told(self) -> list[tuple[str, int | None]]:
        return [(event.command, event.exit_code) for event in self.nested]


@pytest.fixture
def agent(needs: Callable[..., None]) -> Agent:
    needs("bash")
    return Agent(Place(Path.cwd()))


# --- text, status, place ------------------------------------------------------------------------------------

TEXTS = [
    ("true", 0),
    ("exit 7", 7),
    ("echo out; echo err >&2; (exit 3)", 3),
    ("no-such-command", 127),
    ("cat <<'END'\nin the $document\nEND", 0),
    ("for i in 1 2; do\n  echo $i\ndone\nfalse", 1),
    ("\n\ttrue # blanks, 100%\t%41 \\ 'quotes' \"more\"\n", 0),
    ("echo 'ünïcode 漢字 👩‍👩‍👧'", 0),
    ("set -e; false; echo not here", 1),
    ("set -u; echo $unset; echo not here", 1),
    ("set -eu -o pipefail; true | true", 0),
    ("set -o noclobber; set -f; echo ok", 0),
    ("IFS=0123456789; true", 0),
    ("kill -9 999999999", 1),
    ("(exit 4) & wait $!", 4),
    ("source /dev/null && eval 'echo hello' < /dev/null && pwd -P", 0),
]


@pytest.mark.parametrize(("text", "status"), TEXTS, ids=[repr(text)[1:22] for text, _ in TEXTS])
@pytest.mark.parametrize("words", [("bash", "-c"), ("bash", "-lc"), ("zsh", "-c")], ids=" ".join)
def test_a_text_is_kept_whole_with_its_status(
    agent: Agent, needs: Callable[..., None], words: tuple[str, ...], text: str, status: int
) -> None:
    needs(words[0])
    bare = agent.bare(*words, text)

    ((code, out, err),) = agent.runs([*words, text])

    if words[0] == "bash" and "$unset" in text:
        status = 127
    assert (code, out) == bare[:2]
    assert code == status
    assert [line.split(":")[-1] for line in err.splitlines()] == [
        line.split(":")[-1] for line in bare[2].splitlines()
    ]
    (kept,) = agent.nested
    assert kept.command == text
    # zsh runs no EXIT trap when a name is not set: a process that is reaped at once leaves no status then.
    assert kept.exit_code in ((status, None) if words[0] == "zsh" and "$unset" in text else (status,))
    source = "bash_env" if words[0] == "bash" else "zshenv"
    assert (kept.data["shell"], kept.source) == (words[0], source)
    assert kept.exit_source in ("shell", "pidfd", "unknown" if kept.exit_code is None else "shell")
    assert (kept.data["interactive"], kept.data["cwd"]) == (False, str(agent.place.root))


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_text_of_100_kilobytes_is_kept_whole(agent: Agent, needs: Callable[..., None], shell: str) -> None:
    needs(shell)
    text = ": ab\tc%41\n" * 10_000 + "true | wc -c"

    agent.runs([shell, "-c", text])

    assert [event.command for event in agent.nested] == [text]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize("name", ["ünïcode 漢字", "a\ttab", "a new\nline", "100%", "x" * 200])
def test_where_it_ran_is_kept(agent: Agent, needs: Callable[..., None], shell: str, name: str) -> None:
    needs(shell)
    folder = agent.place.root / name
    folder.mkdir()

    agent.runs({"argv": [shell, "-c", "true"], "cwd": str(folder)})

    assert [event.data["cwd"] for event in agent.nested] == [str(folder)]


def test_a_script_is_kept_with_its_arguments(agent: Agent) -> None:
    script = agent.place.root / "a script"
    script.write_text("#!/usr/bin/env bash\necho $#:$1:$2\nexit 6\n")
    script.chmod(0o755)

    seen = agent.runs([str(script), "one two", "it's"], ["bash", str(script), "three", ""])

    assert [(code, out) for code, out, _ in seen] == [(6, "2:one two:it's\n"), (6, "2:three:\n")]
    texts = sorted((event.command for event in agent.nested), key=lambda text: "three" in text)
    assert [event.exit_code for event in agent.nested] == [6, 6]
    assert all("script" in text for text in texts)
    assert texts[0].endswith(r"one\ two it\'s")
    assert texts[1].endswith("three ''")


def test_a_script_on_standard_input_is_kept_as_the_shell_that_read_it(agent: Agent) -> None:
    ((code, out, _),) = agent.runs(
        [sys.executable, "-c", "import subprocess as s; s.run(['bash', '-s', 'x'], input=b'echo $1; exit 2')"]
    )

    assert (code, out) == (0, "x\n")
    assert agent.told == [("bash -s x", 2)]


# --- ends that a trap cannot tell ---------------------------------------------------------------------------

WAIT = "until [ -e go ]; do sleep 0.01; done; "


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize(
    ("end", "status", "source"),
    [
        ("exec sh -c 'exit 5'", 5, "pidfd"),
        ("trap 'echo mine; exit 8' EXIT", 8, "pidfd"),
        ("kill -TERM $$; sleep 60", 143, "pidfd"),
        ("kill -KILL $$", 137, "pidfd"),
    ],
    ids=["exec", "own trap", "term", "kill"],
)
def test_an_end_that_the_shell_does_not_tell_is_found(
    agent: Agent, needs: Callable[..., None], shell: str, end: str, status: int, source: str
) -> None:
    needs(shell)
    if not hasattr(os, "pidfd_open"):
        pytest.skip("because there is no pidfd_open")
    ((code, out, _),) = agent.runs([shell, "-c", WAIT + end], seen_first=True)

    assert code == (status if status < 128 else 128 - status)
    assert out == ("mine\n" if "mine" in end else "")
    (kept,) = agent.nested
    # On a busy machine a process may be reaped before its status was read: then nobody guesses.
    assert (kept.exit_code, kept.exit_source) in ((status, source), (None, "unknown"))


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize("last", ["", "exec "])
def test_a_shell_that_another_replaces_goes_on_as_the_same_command(
    agent: Agent, needs: Callable[..., None], shell: str, last: str
) -> None:
    """An agent's client may start a shell that sets things up, and that replaces itself by the real one."""
    needs(shell)
    text = f"export MARK=1; {last}{shell} -c 'exit 5'"

    ((code, _, _),) = agent.runs([shell, "-c", text])

    assert code == 5
    (kept,) = agent.nested
    assert (kept.command, kept.exit_code, kept.exit_source) == (text, 5, "shell")


def test_where_deeper_shells_are_asked_for_each_is_told(agent: Agent) -> None:
    agent.place.devtrace("config", "set", "shell.nested", "all")

    agent.runs(["bash", "-c", "exec bash -c 'exit 5'"])

    told = {kept.command: kept for kept in agent.place.commands(depth=1)}
    assert told["exit 5"].parent == told["exec bash -c 'exit 5'"].id


# --- depth --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nested", ["first", "all", "off"])
def test_deeper_shells_are_recorded_only_when_asked_for(agent: Agent, nested: str) -> None:
    agent.place.devtrace("config", "set", "shell.nested", nested)
    deeper = "bash -c 'true; bash -c \"true deepest; true\"; true'; true"

    agent.runs(["bash", "-c", deeper], stays=nested != "off")

    texts = [event.command for event in agent.place.events() if event.command != LAST]
    first, second, third = deeper, 'true; bash -c "true deepest; true"; true', "true deepest; true"
    expected = {"off": [], "first": [first], "all": [third, second, first]}[nested]
    assert sorted(text for text in texts if "agent.py" not in text) == sorted(expected)


def test_the_shells_of_a_program_inside_a_shell_are_children_of_that_one(agent: Agent) -> None:
    """make, pytest or an agent's own helper: the parent process is no shell."""
    program = "import subprocess; subprocess.run(['bash', '-c', 'echo inner; exit 3'])"
    text = f'{sys.executable} -c "{program}"; true'

    agent.runs(["bash", "-c", text])

    found = {event.command: event for event in agent.place.events()}
    assert found["echo inner; exit 3"].parent == found[text].id
    assert (found["echo inner; exit 3"].exit_code, found[text].exit_code) == (3, 0)


# --- not recorded, and not in the way -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv",
    [
        ["env", "-i", "bash", "-c", "echo ran; exit 4"],
        ["bash", "--posix", "-c", "echo ran; exit 4"],
        ["bash", "-p", "-c", "echo ran; exit 4"],
        ["sh", "-c", "echo ran; exit 4"],
    ],
    ids=["env -i", "posix", "privileged", "sh"],
)
def test_a_shell_that_reads_no_file_of_ours_runs_unrecorded(agent: Agent, argv: list[str]) -> None:
    assert agent.runs(argv) == [(4, "ran\n", "")]
    assert agent.nested == []


@pytest.mark.parametrize(
    "own", ["echo read by the us''er; export OWN=1", "trap 'echo own trap' EXIT", "false", "set -eu"]
)
def test_the_users_own_bash_env_is_read_as_ever(agent: Agent, own: str) -> None:
    file = agent.place.root / "own env"
    file.write_text(own + "\n")
    agent.env["BASH_ENV"] = str(file)
    text = "echo ${OWN-}; exit 3"
    env = environment(BASH_ENV=str(file))
    bare = subprocess.run(
        ["bash", "-c", text], cwd=agent.place.root, env=env, capture_output=True, check=False
    )

    ((code, out, err),) = agent.runs(["bash", "-c", text])

    assert (code, out, err) == (bare.returncode, bare.stdout.decode(), bare.stderr.decode())
    assert agent.told == [(text, 3)] or "trap" in own


# --- nothing is seen ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize(
    "text",
    [
        "echo $?",
        "echo $#:$0:$-",
        "echo $LINENO $SHLVL ${BASH_SUBSHELL-} $PWD",
        "ls /proc/self/fd | wc -l",
        "umask; ulimit -a",
        "alias; jobs; dirs",
        "true | false; echo ${PIPESTATUS[*]-} ${pipestatus[*]-}",
    ],
)
def test_a_script_finds_what_it_would_find_without_us(
    agent: Agent, needs: Callable[..., None], shell: str, text: str
) -> None:
    needs(shell)

    assert agent.runs([shell, "-c", text, "name", "one"]) == [agent.bare(shell, "-c", text, "name", "one")]


@pytest.mark.parametrize(
    ("shell", "text"),
    [
        ("bash", "declare -F; declare -f"),
        ("bash", "shopt; set -o; echo $SHELLOPTS $BASHOPTS"),
        ("zsh", "functions"),
        ("zsh", "setopt; unsetopt; zmodload"),
    ],
)
def test_no_function_and_no_option_is_ours(
    agent: Agent, needs: Callable[..., None], shell: str, text: str
) -> None:
    needs(shell)

    assert agent.runs([shell, "-c", text]) == [agent.bare(shell, "-c", text)]


@pytest.mark.parametrize(
    ("shell", "text"),
    [("bash", "compgen -v"), ("bash", "compgen -e"), ("zsh", "print -l ${(k)parameters}")],
    ids=["bash", "exported", "zsh"],
)
def test_no_variable_is_ours_but_the_documented_ones(
    agent: Agent, needs: Callable[..., None], shell: str, text: str
) -> None:
    needs(shell)

    ((_, out, _),) = agent.runs([shell, "-c", text])

    more = set(out.split()) ^ set(agent.bare(shell, "-c", text)[1].split())
    assert {name for name in more if not name.startswith("DEVTRACE_")} <= OURS
    assert more & {"DEVTRACE_SPAN", "BASH_ENV"}


def test_a_script_that_is_traced_shows_only_its_own_lines(agent: Agent) -> None:
    text = "set -x; echo one; echo two"

    assert agent.runs(["bash", "-c", text])[0] == agent.bare("bash", "-c", text)


def test_without_a_host_the_parts_do_nothing(agent: Agent) -> None:
    agent.runs({"argv": ["bash", "-c", "env >environment"]})
    left = dict(
        line.split("=", 1)
        for line in (agent.place.root / "environment").read_text().splitlines()
        if "=" in line
    )
    assert not Path(left["DEVTRACE_FIFO"]).exists()

    done = subprocess.run(["bash", "-c", "echo ran; exit 4"], env=left, capture_output=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (4, b"ran\n", b"")
    assert not Path(left["DEVTRACE_FIFO"]).exists()
    assert shutil.which("bash")


def test_what_each_nested_command_changes_is_its_own(agent: Agent) -> None:
    """`devtrace run` tells of the program itself; that is no line of the FIFO, and shifts no place."""
    root = agent.place.root
    names = [f"gone{number}" for number in range(8)]
    for name in names:
        (root / name).write_text(f"{name}\n")

    agent.place.devtrace("snapshot")  # what is gone before anybody looked would be known to nobody

    agent.runs(*(["bash", "-c", f"rm {name}; sleep 0.05"] for name in names))

    commands = {event.id: event.command for event in agent.place.commands(depth=1)}
    told = {}
    for event in agent.place.events(None, "edit_files"):
        for change in event["data"]["changes"]:
            ids = event["data"]["candidates"] or [event.parent or ""]
            told[change["path"]] = [commands.get(one.rpartition("/")[2]) for one in ids]
    assert told.keys() >= set(names)
    assert {name: f"rm {name}; sleep 0.05" in told[name] for name in names} == dict.fromkeys(names, True)
    assert 1 in map(len, map(told.__getitem__, names)), "only those of the first moments may be ambiguous"
