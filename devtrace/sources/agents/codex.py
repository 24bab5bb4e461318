"""Codex CLI: what its hooks send, its hook file and whether it trusts that, its tools. Seen with 0.169.

    hooks         one JSON object each, registered in .codex/hooks.json; it skips in silence those that it
                  was not asked to trust
    rollouts      <config>/sessions/<year>/<month>/<day>/rollout-<time>-<thread>.jsonl, one for each thread
    its shell     bash -c "... if . '<snapshot>' ... exec '/bin/bash' -c '<command>'", some 38 KB of it, and
                  so in the same process bash -c "<command>"; or that alone

A session is its `session_id`, also in a subagent, which is a thread of its own, `agent_id`, with turns of its
own; a call is its `tool_use_id`. The hooks tell no exit code, so how a command ended is `unknown` here. Of a
here-document `apply_patch` they tell the beginning only: Codex applies it itself, and no shell runs.

Lives here: the hooks, what is known of its tools. Not here: reading a rollout (codex_rollout.py).
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devtrace.sources.agents import base
from devtrace.sources.agents.base import Fact, dict_of, list_of, text_of

if TYPE_CHECKING:
    from devtrace.sources.agents.base import Memory
    from devtrace.sources.agents.hookfiles import HookFile

NAME = "codex"
TITLE = "OpenAI Codex CLI"
COMMANDS = ("codex",)
HOOK_FILE = ".codex/hooks.json"

_SHELLS = ("Bash", "exec_command", "shell", "shell_command", "local_shell", "container.exec")
_DOES = {
    "apply_patch": "edit",
    "view_image": "read",
    "read_file": "read",
    "list_dir": "search",
    "grep_files": "search",
    "web_search": "search",
    "spawn_agent": "subagent",
}
_PHASES = {"resume": "resumed", "clear": "cleared", "compact": "compacted"}
_PATCHED = re.compile(r"^\*\*\* (?:(?:Add|Update|Delete) File|Move to): (.+)$", re.MULTILINE)
_HERE_DOCUMENT = re.compile(
    r"""\s*(?:cd\s+(?P<cd>'[^']+'|"[^"$`\\]+"|[^\s'"$`;&|<>]+)\s*&&\s*)?(?:apply_patch|applypatch)\s*"""
    r"""<<-?\s*(?P<quote>['"]?)(?P<end>\w+)(?P=quote)[ \t]*\n(?P<patch>.*\n)[ \t]*(?P=end)\s*""",
    re.DOTALL,
)


# --- hooks ------------------------------------------------------------------------------------------------


def hooks(command: Callable[[str], str]) -> list[HookFile]:
    """The repository's own hook file; `command` gives the command line of an event."""
    from devtrace.sources.agents.hookfiles import json_hooks

    return [json_hooks(HOOK_FILE, EVENTS, command)]


class _Heard:
    """One payload, and when it came."""

    __slots__ = ("at_us", "memory", "native", "told")

    def __init__(self, native: str, told: dict[str, Any], at_us: int, memory: Memory):
        self.native = native
        self.told = told
        self.at_us = at_us
        self.memory = memory

    def text(self, name: str) -> str | None:
        """A field that is a text."""
        return text_of(self.told.get(name))

    def placed(self) -> dict[str, Any]:
        """Under which prompt, by which subagent and model, where."""
        places = {"turn": "turn_id", "subagent": "agent_id", "model": "model", "cwd": "cwd"}
        return {field: self.text(name) for field, name in places.items()}

    def session(self, key: str, phase: str, detail: str | None = None) -> Fact:
        """The client, or a subagent of it, began or ended."""
        told = {
            "subagent": self.text("agent_id"),
            "subagent_type": self.text("agent_type"),
            "transcript": self.text("agent_transcript_path") or self.text("transcript_path"),
            "model": self.text("model"),
            "permissions": self.text("permission_mode"),
            "cwd": self.text("cwd"),
        }
        return base.session(self.native, key, self.at_us, phase, detail=detail, **told)

    def numbered(self, key: str) -> str:
        """The key as it is, for the second of the same with a number."""
        return nth(key, self.memory.count(key))


def parse(event: str, payload: dict[str, Any], at_us: int, memory: Memory) -> list[Fact]:
    """What one hook tells; `at_us` is when it was heard."""
    event = text_of(payload.get("hook_event_name")) or event
    native = text_of(payload.get("session_id"))
    if event in ("PreCompact", "PermissionRequest"):
        return []
    if event not in _HEARD:
        return [base.unknown(native, event, payload, "unknown_event", at_us)]
    facts = _HEARD[event](_Heard(native, payload, at_us, memory)) if native else None
    return [base.unknown(native, event, payload, "unknown_shape", at_us)] if facts is None else facts


def _started(heard: _Heard) -> list[Fact]:
    source = heard.text("source")
    phase = _PHASES.get(source or "", "started")
    key = phase if phase == "started" else heard.numbered(phase)
    return [heard.session(key, phase, source)]


def _prompted(heard: _Heard) -> list[Fact] | None:
    text, turn = heard.text("prompt"), heard.text("turn_id")
    if text is None or turn is None:
        return None
    key = nth(turn, heard.memory.count(f"prompt {turn}"))  # what is typed while it works joins the turn
    return [base.prompt(heard.native, key, heard.at_us, text, **heard.placed())]


def _calling(heard: _Heard) -> list[Fact] | None:
    return _call(heard, heard.at_us)


def _called(heard: _Heard) -> list[Fact] | None:
    tool = heard.text("tool_name") or ""
    status, result = outcome(tool, heard.told.get("tool_response"))
    told = {"status": status, "result": result, "starts": started_agent(tool, result)}
    return _call(heard, None, ended_us=heard.at_us, **told)


def _call(heard: _Heard, started_us: int | None, **told: Any) -> list[Fact] | None:
    tool, call = heard.text("tool_name"), heard.text("tool_use_id")
    if tool is None or call is None:
        return None
    given = heard.told.get("tool_input")
    told = {**heard.placed(), **claims(tool, given), "call": call, **told}
    return [base.tool_call(heard.native, call, started_us, tool, given=given, **told)]


def _subagent_started(heard: _Heard) -> list[Fact] | None:
    agent = heard.text("agent_id")
    return None if agent is None else [heard.session(f"subagent_started:{agent}", "subagent_started")]


def _subagent_ended(heard: _Heard) -> list[Fact] | None:
    if heard.text("agent_id") is None:
        return None
    key = stopped_key(heard.text("turn_id"), heard.text("agent_id"))
    return [*_last_word(heard), heard.session(key, "subagent_ended")]


def _stopped(heard: _Heard) -> list[Fact]:
    return [*_last_word(heard), heard.session(stopped_key(heard.text("turn_id")), "stopped")]


def _interrupted(heard: _Heard) -> list[Fact]:
    return [heard.session(stopped_key(heard.text("turn_id")), "stopped", "interrupted")]


def _last_word(heard: _Heard) -> Iterator[Fact]:
    text, placed = heard.text("last_assistant_message") or "", heard.placed()
    del placed["cwd"]
    if text.strip():
        yield base.said(heard.native, message_key(text, placed["turn"]), heard.at_us, text, **placed)


def _compacted(heard: _Heard) -> list[Fact]:
    key = heard.numbered(compacted_key(heard.text("turn_id")))
    return [heard.session(key, "compacted", heard.text("trigger"))]


def _ended(heard: _Heard) -> list[Fact]:
    return [heard.session(heard.numbered("ended"), "ended", heard.text("reason"))]


_HEARD: dict[str, Callable[[_Heard], list[Fact] | None]] = {
    "SessionStart": _started,
    "UserPromptSubmit": _prompted,
    "PreToolUse": _calling,
    "PostToolUse": _called,
    "SubagentStart": _subagent_started,
    "SubagentStop": _subagent_ended,
    "PostCompact": _compacted,
    "Stop": _stopped,
    "Interrupt": _interrupted,
    "SessionEnd": _ended,
}
EVENTS = tuple(_HEARD)


# --- keys -------------------------------------------------------------------------------------------------


def nth(key: str, number: int) -> str:
    """The key as it is, for the second of the same with a number."""
    return key if number == 1 else f"{key}#{number}"


def message_key(text: str, turn: str | None) -> str:
    """The key of something said, the same in hooks and rollouts, which share no id of it."""
    digest = hashlib.sha256(text.strip().encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{turn}/{digest}" if turn else digest


def stopped_key(turn: str | None, subagent: str | None = None) -> str:
    """The key of the end of a turn."""
    return f"subagent_ended:{subagent}/{turn or ''}" if subagent else f"stopped:{turn or ''}"


def compacted_key(turn: str | None) -> str:
    """The key of a compaction."""
    return f"compacted:{turn or ''}"


# --- its tools --------------------------------------------------------------------------------------------


def tool_name(name: str, namespace: str | None = None) -> str:
    """What the hooks call a tool that the model and the rollout call by another name."""
    if namespace and namespace.startswith("mcp__"):
        return f"{namespace}__{name}"
    return "Bash" if name in _SHELLS else name


def claims(tool: str, given: object) -> dict[str, Any]:
    """What a call does, the command that it runs, the files that it writes or reads, as it is said."""
    told = dict_of(given)
    command = _command(told) if tool in _SHELLS else None
    found = _HERE_DOCUMENT.fullmatch(command) if command else None
    if found:
        folder = (found["cd"] or "").strip("'\"")
        paths = [f"{folder.rstrip('/')}/{path}" if folder else path for path in patched(found["patch"])]
        return {"does": "edit", "command": command, "paths": paths}
    does = "shell" if tool in _SHELLS else "mcp" if tool.startswith("mcp__") else _DOES.get(tool, "other")
    return {"does": does, "command": command, "paths": _paths(tool, given) or None}


def _command(told: dict[str, Any]) -> str | None:
    given = told.get("command", told.get("cmd"))
    words = [word for word in list_of(given) if isinstance(word, str)]
    if len(words) == 3 and words[1] in ("-c", "-lc"):  # as older versions tell it, with the shell
        return words[2]
    return shlex.join(words) if words else text_of(given)


def _paths(tool: str, given: object) -> list[str]:
    told = dict_of(given)
    if tool == "apply_patch":
        return patched(text_of(given) or text_of(told.get("command")) or text_of(told.get("input")) or "")
    path = text_of(told.get("path")) or text_of(told.get("file_path"))
    return [path] if path and _DOES.get(tool) == "read" else []


def patched(patch: str) -> list[str]:
    """The files that a patch in Codex's own form names."""
    return list(dict.fromkeys(path.strip() for path in _PATCHED.findall(patch)))


def outcome(tool: str, answer: object) -> tuple[str, str | None]:
    """(status, result) as the end of a call tells it; of a command it does not tell how it ended."""
    told = dict_of(answer)
    if told.get("isError") is True or told.get("is_error") is True:
        status = "failed"
    else:
        status = "unknown" if tool in _SHELLS else "ok"
    return status, answer_text(answer)


def answer_text(answer: object) -> str | None:
    """A result as text: of content blocks their texts, a line each; of all else its JSON."""
    if answer is None or isinstance(answer, str):
        return answer
    blocks = answer if isinstance(answer, list) else list_of(dict_of(answer).get("content"))
    texts = [text for block in blocks if (text := text_of(dict_of(block).get("text"))) is not None]
    return "\n".join(texts) if texts else base.as_json(answer)


def started_agent(tool: str, result: str | None) -> str | None:
    """The id of the subagent that a call started."""
    if _DOES.get(tool) != "subagent" or result is None:
        return None
    try:
        return text_of(dict_of(json.loads(result)).get("agent_id"))
    except (ValueError, RecursionError):
        return None


# --- its rollouts -----------------------------------------------------------------------------------------


def home(environ: Mapping[str, str]) -> Path:
    """Where it keeps its settings and its records."""
    return Path(environ.get("CODEX_HOME") or Path(environ.get("HOME") or Path.home()) / ".codex")


def transcripts(environ: Mapping[str, str], root: Path) -> list[Path]:
    """Its records of threads that began in that directory or below, oldest first."""
    from devtrace.sources.agents.codex_rollout import rollouts_below

    return rollouts_below(home(environ), root)


def read(path: Path, root: Path) -> Iterator[Fact]:  # noqa: ARG001 - every adapter's is called like this
    """All facts of one record. Raises OSError where it cannot be read."""
    from devtrace.sources.agents.codex_rollout import Rollout

    return Rollout(path).facts()


# --- its shell --------------------------------------------------------------------------------------------

_SNAPSHOT = re.compile(r"^if \. '[^\n]*' >/dev/null 2>&1; then :; fi$", re.MULTILINE)
_EXEC = re.compile(r"^exec (?='[^\n]*' -c ')", re.MULTILINE)
_OWN = re.compile(
    r"""__CODEX_SNAPSHOT_|if \. '[^\n]*' >/dev/null 2>&1; then :; fi\n"""  # what reads it
    r"""|.{0,400}# Snapshot file'"""  # what makes it
    r"""|set -e; \. "[^\n]*/shell_snapshots/[^\n"]*"\s*\Z""",  # what tries it
    re.DOTALL,
)


def is_own(command: str) -> bool:
    """Whether a shell is Codex's own affair: it makes a snapshot of the user's shell, tries it, or reads it.

    The one that reads it becomes the shell of the command in the same process, which is seen by itself.
    """
    return _OWN.match(command) is not None


def unwrapped(command: str) -> str | None:
    """The command that follows once the snapshot of the user's shell is read; None: it is no such line."""
    snapshot = _SNAPSHOT.search(command) if command.startswith("__CODEX_SNAPSHOT_") else None
    start = _EXEC.search(command, snapshot.end()) if snapshot else None
    try:
        words = shlex.split(command[start.end() :]) if start else []
    except ValueError:
        return None
    return words[2] if len(words) > 2 else None


# --- whether it trusts our hooks --------------------------------------------------------------------------


def trusted(environ: Mapping[str, str], root: Path) -> bool | None:
    """Whether config.toml trusts our hooks in the repository at `root`, so that Codex runs them.

    It skips them in silence where it does not trust the project, was not asked about a hook yet, or the hook
    changed since. None: there are none of ours there, or it cannot be told.
    """
    import tomllib

    ours = list(_our_handlers(root))
    try:
        config = tomllib.loads((home(environ) / "config.toml").read_text("utf-8"))
    except FileNotFoundError:
        config = {}
    except (OSError, ValueError, RecursionError):
        return None
    if not ours:
        return None
    states = dict_of(dict_of(config.get("hooks")).get("state"))
    return _is_trusted_project(config, root) and all(_is_trusted(states, root, *one) for one in ours)


def _is_trusted_project(config: dict[str, Any], root: Path) -> bool:
    projects = dict_of(config.get("projects"))
    return any(dict_of(projects.get(str(path))).get("trust_level") == "trusted" for path in _names(root))


def _names(root: Path) -> tuple[Path, Path]:
    return root.absolute(), root.resolve()


def _our_handlers(root: Path) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """(label of the event, place in the file, group, handler) of each hook of ours."""
    from devtrace.sources.agents.hookfiles import is_ours

    try:
        settings = dict_of(json.loads((root / HOOK_FILE).read_text("utf-8-sig")))
    except (OSError, ValueError, RecursionError):
        return
    for event, groups in dict_of(settings.get("hooks")).items():
        label = re.sub(r"(?<!^)(?=[A-Z])", "_", event).lower()
        for number, group in enumerate(list_of(groups)):
            for place, handler in enumerate(list_of(dict_of(group).get("hooks"))):
                if is_ours(dict_of(handler).get("command")):
                    yield label, f"{number}:{place}", dict_of(group), dict_of(handler)


def _is_trusted(
    states: dict[str, Any], root: Path, label: str, place: str, group: dict[str, Any], handler: dict[str, Any]
) -> bool:
    expected = hook_hash(label, group, handler)
    known = [dict_of(states.get(f"{path / HOOK_FILE}:{label}:{place}")) for path in _names(root)]
    return any(one.get("trusted_hash") == expected and one.get("enabled") is not False for one in known)


def hook_hash(label: str, group: dict[str, Any], handler: dict[str, Any]) -> str:
    """What Codex keeps of a hook that it was asked to trust: a digest of its own normal form of it."""
    is_short = label in ("session_end", "interrupt")  # which get three seconds at most, whatever is asked for
    seconds = base.number_of(handler.get("timeout")) or (1 if is_short else 600)
    normal = {
        "type": "command",
        "command": handler.get("command"),
        "timeout": max(1, min(seconds, 3)) if is_short else max(1, seconds),
        "async": handler.get("async") is True,
    }
    if isinstance(handler.get("statusMessage"), str):
        normal["statusMessage"] = handler["statusMessage"]
    identity: dict[str, Any] = {"event_name": label, "hooks": [normal]}
    if label not in ("user_prompt_submit", "stop", "interrupt") and isinstance(group.get("matcher"), str):
        identity["matcher"] = group["matcher"]
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
