"""What happened: the shape of every event, one family a file.

Lives here: the registry of kinds, and the door through which the other rooms fetch them.
Not here: where events go (pipeline, store), how they are shown (views).
A new kind is one new class with `@kind("name")` in a file of this folder.
"""

from devtrace.events.command import OUTPUT_BLOB, TIMING_BLOB, Output, RunCommand
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
from devtrace.events.note import Note
from devtrace.events.session import Gap, Policy
from devtrace.events.shape import check_body, is_shallow, unfit

__all__ = [
    "KINDS",
    "OUTPUT_BLOB",
    "TIMING_BLOB",
    "Body",
    "Event",
    "Frame",
    "Gap",
    "Note",
    "Output",
    "Policy",
    "RunCommand",
    "body_from_data",
    "check_body",
    "check_frame",
    "is_int",
    "is_moment",
    "is_shallow",
    "kind",
    "sensitive",
    "sensitive_fields",
    "text_and_bytes",
    "unfit",
]
