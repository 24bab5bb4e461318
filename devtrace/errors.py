"""Every error DevTrace shows: one tree, a stable code, a hint.

    DevTraceError
    ├── UsageError         asked wrongly: an unknown id, a bad filter, a wrong key       exit 2
    ├── EnvironmentError   the machine says no: no store, no shell, a full disk          exit 1
    ├── TargetError        the traced program or shell could not be started or followed  exit 1
    ├── InternalError      our bug                                                       exit 3
    └── RecorderError      what the Python recorder raises; each of its own four is one of those above too

Lives here: the classes and the table of codes, from which `docs/reference/errors.md` is generated.
Not here: how an error is printed (cli/app.py), the recorder's four (recorder/errors.py). Standard library
only: guests import this.
"""

from __future__ import annotations

from typing import Any, ClassVar

CODES: dict[str, str] = {
    "ERR_USAGE": "The command line was not understood.",
    "ERR_AGENT_UNKNOWN": "No agent of that name; `custom:NAME` labels any other.",
    "ERR_AGENT_HOOKS_FILE": "A settings file of an agent cannot take our hooks.",
    "ERR_AGENT_HOOKS_NONE": "DevTrace knows no hooks of that agent.",
    "ERR_AGENT_HOOKS_PATH": "A settings file of an agent is none, or leads out of the repository.",
    "ERR_AGENT_HOOKS_WRITE": "A settings file of an agent could not be written.",
    "ERR_ARGUMENT": "An argument of a tool does not fit.",
    "ERR_CONFIG_KEY": "No such configuration key.",
    "ERR_CONFIG_VALUE": "The value does not fit the configuration key, or config.toml is no valid TOML.",
    "ERR_CURSOR": "The cursor belongs to another question or store, or is none.",
    "ERR_CWD_MISSING": "The current directory was removed.",
    "ERR_EVENT_KIND": "No such event kind.",
    "ERR_EXPORT_FORMAT": "No such export format.",
    "ERR_EXPORT_WRITE": "The file of an export could not be written.",
    "ERR_EXTRA_MISSING": "A part of DevTrace that was not installed is needed.",
    "ERR_FILTER": "A filter such as --since could not be read.",
    "ERR_FRAME": "A frame does not have the shape of an event.",
    "ERR_ID_AMBIGUOUS": "The prefix fits more than one session or event.",
    "ERR_ID_UNKNOWN": "No session or event has an id that starts so.",
    "ERR_INTERNAL": "A bug in DevTrace; the log in .devtrace/log/ has the details.",
    "ERR_MCP_CONFIG_FILE": "An MCP configuration cannot take our proxy or our server.",
    "ERR_MCP_CONFIG_NONE": "DevTrace knows no MCP configuration of that agent.",
    "ERR_MCP_CONFIG_PATH": "An MCP configuration is no file, leads elsewhere, or was changed meanwhile.",
    "ERR_MCP_CONFIG_WRITE": "An MCP configuration could not be written.",
    "ERR_MCP_SERVER_UNKNOWN": "No MCP server of that name is configured there.",
    "ERR_NO_BLAME": "Who wrote the lines of that file cannot be told.",
    "ERR_NO_CHECKPOINT": "No state of the working tree is kept for that.",
    "ERR_NO_DIFF": "The event or session changed no file that is recorded.",
    "ERR_NO_OUTPUT": "The event kept no terminal output.",
    "ERR_NO_SESSION": "There is no session to show or to attach to.",
    "ERR_NOT_SEALED": "The session has not ended, so there is no seal to sign.",
    "ERR_PATH": "The path is no file of the recorded working tree.",
    "ERR_PORT_TAKEN": "Nothing can listen at that port.",
    "ERR_PROXY": "The proxy that the environment names cannot be used.",
    "ERR_RANGE": "That is no range of commits of the repository.",
    "ERR_RESOURCE": "There is no resource at that address.",
    "ERR_RESTORE": "Some files could not be restored; the others were.",
    "ERR_RUNTIME_DIR": "No private directory for the FIFO could be made.",
    "ERR_SEARCH": "That cannot be searched for, or this Python's SQLite cannot search.",
    "ERR_SEALS_COPY": "The copy of seals.log cannot be read as one.",
    "ERR_SHELL_MISSING": "The shell is not installed, or is not executable.",
    "ERR_SHELL_UNSUPPORTED": "DevTrace has no hooks for that shell.",
    "ERR_SIGN_FAILED": "ssh-keygen could not sign.",
    "ERR_SIGN_KEY": "There is no SSH key to sign with.",
    "ERR_SIGN_TOOL": "ssh-keygen is missing, or too old to sign.",
    "ERR_STORE_DAMAGED": "The database cannot be read as one.",
    "ERR_STORE_FULL": "The disk is full, or a quota is reached.",
    "ERR_STORE_LOCKED": "Another process kept the store locked for too long.",
    "ERR_STORE_MISSING": "There is no .devtrace/ here or above.",
    "ERR_STORE_NEWER": "The store was written by a newer DevTrace.",
    "ERR_STORE_READONLY": "The store cannot be written.",
    "ERR_STORE_UNSAFE": "The store's path is a symbolic link or belongs to somebody else.",
    "ERR_FILE_UNREADABLE": "A file that was named cannot be read.",
    "ERR_TOKEN": "The token for the server over HTTP cannot be used.",
    "ERR_TOO_LARGE": "What was given is larger than DevTrace looks at in one piece.",
    "ERR_TOO_SLOW": "The answer took too long, and was given up.",
    "ERR_TREE_UNREADABLE": "Git cannot tell what differs in the working tree.",
    "ERR_TARGET_START": "The program could not be started.",
    "ERR_ALREADY_TRACING": "The Python recorder records this process already.",
    "ERR_FRAME_INTROSPECTION_FAILED": "The recorder could not read a frame of the program.",
    "ERR_GLOBALS_INTROSPECTION_FAILED": "The recorder could not read the globals of a frame.",
    "ERR_INVALID_POLICY_VALUE": "The value does not fit the key of the recorder's policy.",
    "ERR_IO": "The recorder could not read or write a file.",
    "ERR_MISSING_KEYWORD_ARG": "A call of the recorder lacks a keyword argument.",
    "ERR_MISSING_POSITIONAL_ARG": "A call of the recorder lacks a positional argument.",
    "ERR_TRACE_DIR_CONFLICT": "The path for a trace is there already, and is no directory.",
    "ERR_TRACE_DIR_CREATE_FAILED": "The directory for a trace could not be made.",
    "ERR_TRACE_INCOMPLETE": "The recorder stopped before the program did, so its trace is not whole.",
    "ERR_TRACE_MISSING": "A trace was required, and none was written.",
    "ERR_TRACER_INSTALL_CONFLICT": "Python let the recorder install no tracer: another tool has the place.",
    "ERR_UNKNOWN": "A failure inside the recorder that has no code of its own.",
    "ERR_UNSUPPORTED_FORMAT": "The recorder writes no such trace format.",
}


class DevTraceError(Exception):
    """What happened, where, and what to do next.

    `code` is one of `CODES`; `context` holds plain values for machines; `hint` is one sentence that
    tells what to do, or "" where there is nothing to do.
    """

    kind: ClassVar[str] = "DevTraceError"
    exit_status: int = 1

    def __init__(self, message: str, *, code: str, hint: str = "", context: dict[str, Any] | None = None):
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint
        self.context = context or {}

    def as_dict(self) -> dict[str, Any]:
        """The JSON trailer's shape: `{"error": {kind, code, message, hint, context}}`."""
        shape = {"kind": self.kind, "code": self.code, "message": self.message}
        return {"error": {**shape, "hint": self.hint, "context": self.context}}


class UsageError(DevTraceError):
    """The user asked for something that does not exist or does not fit."""

    kind = "UsageError"
    exit_status = 2


class EnvironmentError(DevTraceError):
    """The machine, the disk or the installation does not allow it. (Shadows the builtin alias of OSError.)"""

    kind = "EnvironmentError"


class TargetError(DevTraceError):
    """The program or shell to be traced could not be started or followed."""

    kind = "TargetError"


class InternalError(DevTraceError):
    """A bug of ours: never the user's fault."""

    kind = "InternalError"
    exit_status = 3
