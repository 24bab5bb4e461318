"""What happened: the shape of every event, one family a file.

Lives here: the registry of kinds, and the door through which the other rooms fetch them.
Not here: where events go (pipeline, store), how they are shown (views).
A new kind is one new class with `@kind("name")` in a file of this folder.
"""

from devtrace.events.agent import DOES, AgentPayload, AgentSession, AssistantMessage, Prompt, ToolCall
from devtrace.events.command import OUTPUT_BLOB, TIMING_BLOB, Output, RunCommand
from devtrace.events.edit import ATTRIBUTIONS, EditFiles, FileChange
from devtrace.events.envelope import (
    KINDS,
    Body,
    Event,
    Frame,
    body_from_data,
    check_frame,
    is_int,
    is_moment,
    kind,
    sensitive,
    sensitive_fields,
    text_and_bytes,
)
from devtrace.events.git import GitCommit, GitSnapshot
from devtrace.events.io import Io
from devtrace.events.mcp import FRAMES_BLOB, OUTCOMES, McpCall, McpFrames, McpServer
from devtrace.events.note import Note
from devtrace.events.probe import ProbeError, ProbeHit, ProbeStatus
from devtrace.events.session import Gap, Policy, gap_event
from devtrace.events.shape import check_body, is_plain, is_shallow, titled, unfit
from devtrace.events.trace import PythonTrace

__all__ = [
    "ATTRIBUTIONS",
    "DOES",
    "FRAMES_BLOB",
    "KINDS",
    "OUTCOMES",
    "OUTPUT_BLOB",
    "TIMING_BLOB",
    "AgentPayload",
    "AgentSession",
    "AssistantMessage",
    "Body",
    "EditFiles",
    "Event",
    "FileChange",
    "Frame",
    "Gap",
    "GitCommit",
    "GitSnapshot",
    "Io",
    "McpCall",
    "McpFrames",
    "McpServer",
    "Note",
    "Output",
    "Policy",
    "ProbeError",
    "ProbeHit",
    "ProbeStatus",
    "Prompt",
    "PythonTrace",
    "RunCommand",
    "ToolCall",
    "body_from_data",
    "check_body",
    "check_frame",
    "gap_event",
    "is_int",
    "is_moment",
    "is_plain",
    "is_shallow",
    "kind",
    "sensitive",
    "sensitive_fields",
    "text_and_bytes",
    "titled",
    "unfit",
]
