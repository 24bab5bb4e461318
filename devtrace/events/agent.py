"""What a coding agent was told, said and did, by its own account: hooks and transcripts tell it.

`agent` is the adapter's name (config.AGENTS), `native` the client's own id of its session, `turn` its id of
the prompt that this belongs to, `subagent` its id of the subagent that did it. A client names its tools
itself; `does` is what the tool does in one of our words.

Lives here: `prompt`, `assistant_message`, `tool_call`, `agent_session`, `agent_payload`. Not here: the
clients' formats (sources/agents/), what really ran and changed (command.py, edit.py), joining the two
(query/agents.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from devtrace.events.envelope import Body, kind, sensitive

DOES = ("shell", "edit", "read", "search", "subagent", "mcp", "other")  # what a tool does


@kind("prompt")
@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt(Body):
    """What the agent was told, as it was typed, or by another agent: then it is a subagent's."""

    text: str = sensitive()
    agent: str
    native: str
    turn: str | None = None  # None: the client counts no turns
    subagent: str | None = None
    model: str | None = None
    cwd: str | None = sensitive(default=None)

    def headline(self) -> str:
        """The prompt itself."""
        return self.text


@kind("assistant_message")
@dataclass(frozen=True, slots=True, kw_only=True)
class AssistantMessage(Body):
    """What the agent said, quoted: before a tool call it is the reason that was stated for it."""

    text: str = sensitive()
    agent: str
    native: str
    turn: str | None = None
    subagent: str | None = None
    message: str | None = None  # the client's id of it
    model: str | None = None

    def headline(self) -> str:
        """What was said."""
        return self.text


@kind("tool_call")
@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall(Body):
    """What the agent did by one of its tools, as the client tells it: a claim, not an observation."""

    tool: str  # as the client names it
    does: str  # one of DOES
    agent: str
    native: str
    call: str | None = None  # the client's id of the call; None: it has none
    turn: str | None = None
    subagent: str | None = None
    starts: str | None = None  # the id of the subagent that it started, where `does` is "subagent"
    input: str = sensitive(default="")  # as JSON
    command: str | None = sensitive(default=None)  # None: it runs no command
    # of the files that it is said to write or to read; None: it names none
    paths: list[str] | None = sensitive(default=None)  # noqa: RUF009 - a field, not a shared value
    result: str | None = sensitive(default=None)  # None: not told
    exit_code: int | None = None  # as the client says; None: it does not say
    duration_us: int | None = None
    interrupted: bool = False
    model: str | None = None
    cwd: str | None = sensitive(default=None)

    def headline(self) -> str:
        """`Bash: npm test`, `Edit: src/a.py`, or the tool alone."""
        about = self.command or ", ".join(self.paths or ())
        return f"{self.tool}: {about}" if about else self.tool


@kind("agent_session")
@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSession(Body):
    """A client began, went on or ended, or one of its subagents did."""

    agent: str
    native: str
    phase: str  # started, resumed, cleared, compacted, stopped, ended, subagent_started, subagent_ended
    detail: str = sensitive(default="")
    subagent: str | None = None
    subagent_type: str | None = None
    transcript: str | None = sensitive(default=None)  # the file in which the client keeps its own record
    version: str | None = None  # of the client
    model: str | None = None
    permissions: str | None = None  # the client's word for what it may do unasked
    cwd: str | None = sensitive(default=None)

    def headline(self) -> str:
        """`claude-code started (startup)`."""
        phase = self.phase.replace("_", " ")
        return f"{self.agent} {phase}" + (f" ({self.detail})" if self.detail else "")


@kind("agent_payload")
@dataclass(frozen=True, slots=True, kw_only=True)
class AgentPayload(Body):
    """What a client sent and this version does not understand, as it came."""

    agent: str
    native: str | None = None
    event: str = ""  # the hook's name for it
    payload: str = sensitive()
    why: str  # unknown_event, unknown_shape, no_json

    def headline(self) -> str:
        """`claude-code sent FooBar: unknown_event`."""
        return f"{self.agent} sent {self.event or 'something'}: {self.why}"
