"""What the scripted model does: steps in nobody's words, and how each client's tools say them.

    SCRIPTS["main"]                     a shell command, a write, an edit, a failure, a subagent, a commit ...
    turn(script, results, tools, root)  the next thing to say, in the words of the tools that are offered

A step is a stated reason and what is done for it at once. It knows no client: the words are chosen by the
tools that a request offers, so that the same script drives all of them.

Lives here: the scripts, what they leave in the repository, the translation. Not here: how a turn travels
(wire.py), who answers (model.py), how a client is started (clients.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

# --- the steps ----------------------------------------------------------------------------------------------


class Run(NamedTuple):
    """A line for the agent's shell."""

    command: str


class Write(NamedTuple):
    """A new file, by the client's own tool."""

    path: str
    content: str


class Edit(NamedTuple):
    """A replacement of one whole line, by the client's own tool."""

    path: str
    old: str
    new: str


class Delegate(NamedTuple):
    """A subagent with a prompt of its own, and a wait for its end."""

    prompt: str


class Ask(NamedTuple):
    """A call of a tool of an MCP server, in the test's own repository only."""

    server: str
    tool: str
    arguments: dict[str, object]


class Join(NamedTuple):
    """The wait, where a client's subagents run beside their parent; the translation puts it in."""


Action = Run | Write | Edit | Delegate | Ask | Join


class Step(NamedTuple):
    """Several actions are parallel calls."""

    reason: str
    actions: tuple[Action, ...]


class Script(NamedTuple):
    """The steps, and what is said when they are done."""

    steps: tuple[Step, ...]
    final: str


HELLO = """\
def greet(name):
    return "Hello " + name


print(greet("world"))
"""
OLD, NEW = '    return "Hello " + name', '    return f"Hello, {name}!"'
NOTES = "cat >notes.txt <<'END'\nThe greeting has its comma now.\nEND"
FAILING = "echo 'no such greeting' >&2; exit 3"
EXIT_CODE = 3
COMMIT = "Greet Ana"
# By name and not by -A: in a directory where the program was not written it must come to nothing.
COMMITTING = f"git add hello.py notes.txt checked.txt nested.txt deeper.txt && git commit -q -m '{COMMIT}'"
WAITING = "I wait for it."  # said before a `Join`

SCRIPTS = {
    "main": Script(
        (
            Step("First I see whether the shell answers.", (Run("echo hello"),)),
            Step("I write the program.", (Write("hello.py", HELLO),)),
            Step("The greeting lacks its comma.", (Edit("hello.py", OLD, NEW),)),
            Step("It should greet Ana; the shell is quicker here.", (Run("sed -i s/world/Ana/ hello.py"),)),
            Step("A note about it, by a here-document.", (Run(NOTES),)),
            Step("I ask for a greeting that does not exist.", (Run(FAILING),)),
            Step(
                "Two checks that do not depend on each other.",
                (Run("echo one; sleep 0.2; echo one-done"), Run("echo two")),
            ),
            Step("Somebody else may check the program.", (Delegate("Check the program [script:sub]"),)),
            Step("A shell in the shell.", (Run("bash -c 'echo nested >nested.txt'"),)),
            Step("And two, one in the other.", (Run("true && bash -c 'sh -c \"echo deeper >deeper.txt\"'"),)),
            Step("It works, so I commit it.", (Run(COMMITTING),)),
        ),
        "The program greets Ana, and the change is committed.",
    ),
    "sub": Script(
        (Step("I run the program that I was asked to check.", (Run("python3 hello.py >checked.txt"),)),),
        "The program runs.",
    ),
    "talk": Script((), "I have nothing to do."),
}

# What "main" leaves in the repository, all of it committed.
FILES = {
    "hello.py": HELLO.replace(OLD, NEW).replace("world", "Ana"),
    "notes.txt": "The greeting has its comma now.\n",
    "checked.txt": "Hello, Ana!\n",
    "nested.txt": "nested\n",
    "deeper.txt": "deeper\n",
}


def reasons(name: str) -> list[str]:
    """What the assistant says in a script, in order."""
    script = SCRIPTS[name]
    return [*(step.reason for step in script.steps), script.final]


def commands(name: str) -> list[str]:
    """What a script gives to the agent's shell, in order."""
    actions = [action for step in SCRIPTS[name].steps for action in step.actions]
    return [action.command for action in actions if isinstance(action, Run)]


# --- the translation ----------------------------------------------------------------------------------------


class Call(NamedTuple):
    """A call of a client's tool; `arguments` is a text where a tool takes free text, as apply_patch does."""

    name: str
    arguments: dict[str, object] | str


class Turn(NamedTuple):
    """What the model says next; without calls it is its last word."""

    text: str
    calls: tuple[Call, ...] = ()


class Place(NamedTuple):
    """What a translation may look at: where the files are, what the tools answered so far."""

    root: Path
    results: Sequence[str]

    def path(self, name: str) -> str:
        """An absolute path, as the clients' tools want it."""
        return str(self.root / name)


Dialect = dict[type, tuple[str, Callable[..., dict[str, object] | str]]]
# Claude Code names such a tool after its server, Codex has it in a namespace of that name (wire.py).
_ASKED: Callable[..., dict[str, object]] = lambda action, _: action.arguments  # noqa: E731 - as those below


def _patch(*lines: str) -> str:
    return "\n".join(["*** Begin Patch", *lines, "*** End Patch"])


def _added(action: Write, _: Place) -> str:
    lines = (f"+{line}" for line in action.content.splitlines())
    return _patch(f"*** Add File: {action.path}", *lines)


def _updated(action: Edit, _: Place) -> str:
    return _patch(f"*** Update File: {action.path}", "@@", f"-{action.old}", f"+{action.new}")


def _by_shell(patch: Callable[..., str]) -> Callable[..., dict[str, object]]:
    def as_here_document(action: Action, place: Place) -> dict[str, object]:
        return {"cmd": f"apply_patch <<'PATCH'\n{patch(action, place)}\nPATCH"}

    return as_here_document


def _by_program(tool: str, arguments: Callable[..., object]) -> tuple[str, Callable[..., str]]:
    """In code mode the model writes a program that calls the tools."""

    def as_javascript(action: Action, place: Place) -> str:
        return f"text(await tools.{tool}({json.dumps(arguments(action, place))}));"

    return "exec", as_javascript


def _agents(place: Place) -> list[str]:
    """The ids of the subagents that were started, by what the tool that starts them answered."""
    return [found for result in place.results for found in re.findall(r'"agent_id":\s*"([^"]+)"', result)]


WHY = "run a scripted command"

# A dialect is known by the tools that a request offers.
CLAUDE_CODE: Dialect = {
    Run: ("Bash", lambda action, _: {"command": action.command, "description": WHY}),
    Write: ("Write", lambda action, at: {"file_path": at.path(action.path), "content": action.content}),
    Edit: (
        "Edit",
        lambda action, at: {
            "file_path": at.path(action.path),
            "old_string": action.old,
            "new_string": action.new,
        },
    ),
    Delegate: (
        "Agent",
        lambda action, _: {
            "description": "check the program",
            "prompt": action.prompt,
            "subagent_type": "general-purpose",
        },
    ),
    Ask: ("mcp__{server}__{tool}", _ASKED),
}
CODEX: Dialect = {
    Run: ("exec_command", lambda action, _: {"cmd": action.command}),
    Write: ("apply_patch", _added),
    Edit: ("apply_patch", _updated),
    Delegate: ("spawn_agent", lambda action, _: {"message": action.prompt}),
    Join: ("wait_agent", lambda _, at: {"targets": _agents(at)}),
    Ask: ("{tool}", _ASKED),
}
CODEX_BY_SHELL: Dialect = {
    **CODEX,
    Write: ("exec_command", _by_shell(_added)),
    Edit: ("exec_command", _by_shell(_updated)),
}
CODEX_CODE_MODE: Dialect = {
    Run: _by_program(*CODEX[Run]),
    Write: _by_program(*CODEX[Write]),
    Edit: _by_program(*CODEX[Edit]),
    Delegate: _by_program("multi_agent_v1__spawn_agent", CODEX[Delegate][1]),
    Join: _by_program("multi_agent_v1__wait_agent", CODEX[Join][1]),
}
OPENCODE: Dialect = {
    Run: ("bash", lambda action, _: {"command": action.command, "description": WHY}),
    Write: ("write", lambda action, at: {"filePath": at.path(action.path), "content": action.content}),
    Edit: (
        "edit",
        lambda action, at: {
            "filePath": at.path(action.path),
            "oldString": action.old,
            "newString": action.new,
        },
    ),
    Delegate: (
        "task",
        lambda action, _: {
            "description": "check the program",
            "prompt": action.prompt,
            "subagent_type": "general",
        },
    ),
}
GEMINI: Dialect = {
    Run: ("run_shell_command", lambda action, _: {"command": action.command, "description": WHY}),
    Write: ("write_file", lambda action, at: {"file_path": at.path(action.path), "content": action.content}),
    Edit: (
        "replace",
        lambda action, at: {
            "file_path": at.path(action.path),
            "instruction": "Put the comma into the greeting.",
            "old_string": action.old,
            "new_string": action.new,
        },
    ),
    Delegate: (
        "invoke_agent",
        lambda action, _: {"agent_name": "generalist", "prompt": action.prompt},
    ),
}


def dialect(tools: Collection[str]) -> Dialect | None:
    """The words of whoever offers these tools; None: of nobody we know."""
    if "exec_command" in tools:
        return CODEX if "apply_patch" in tools else CODEX_BY_SHELL
    if {"exec", "wait"} <= set(tools):
        return CODEX_CODE_MODE
    known = (CLAUDE_CODE, OPENCODE, GEMINI)
    return next((words for words in known if words[Run][0] in tools), None)


def turn(script: Script, results: Sequence[str], tools: Collection[str], root: Path) -> Turn:
    """What comes next, told by the number of results alone: who asks again is told the same."""
    words = dialect(tools)
    assert words is not None, f"no tool here runs a command: {sorted(tools)}"
    due = len(results)
    for step in _steps(script, words):
        if due < len(step.actions):
            place = Place(root, results)
            return Turn(step.reason, tuple(_call(action, words, place) for action in step.actions[due:]))
        due -= len(step.actions)
    return _last_word(script, due, tools)


def _steps(script: Script, words: Dialect) -> list[Step]:
    found = []
    for step in script.steps:
        found.append(step)
        if Join in words and any(isinstance(action, Delegate) for action in step.actions):
            found.append(Step(WAITING, (Join(),)))
    return found


def _call(action: Action, words: Dialect, place: Place) -> Call:
    tool, arguments = words[type(action)]
    named = tool.format(**action._asdict()) if isinstance(action, Ask) else tool
    return Call(named, arguments(action, place))


def _last_word(script: Script, due: int, tools: Collection[str]) -> Turn:
    """Gemini's subagents end by a call, and count as failed without it."""
    if "complete_task" in tools and due == 0:
        return Turn("", (Call("complete_task", {"result": {"response": script.final}}),))
    return Turn(script.final)


def as_text(arguments: dict[str, object] | str) -> str:
    """Arguments as JSON, or the free text that they are."""
    return arguments if isinstance(arguments, str) else json.dumps(arguments)
