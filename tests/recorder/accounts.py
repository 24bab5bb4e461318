"""Run a program twice in one process: told by the interpreter's own trace function, and by the recorder.

    python accounts.py PROGRAM FOLDER ENGINE      prints {"oracle": [...], "recorded": [...]}

Each account is a list of [function, event, line, variables]: of lines the variables as they are when the line
begins, of calls the arguments. Run by test_oracle.py on each interpreter.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT))

from devtrace.recorder import api  # noqa: E402
from devtrace.recorder.values import Encoder  # noqa: E402
from devtrace.store.trace.records import float_form  # noqa: E402
from devtrace.store.trace.replay import Replay  # noqa: E402
from devtrace.store.trace.segments import read_blocks  # noqa: E402
from tests.recorder import programs  # noqa: E402

FILE = programs.__file__


def oracle(program):  # type: ignore[no-untyped-def]
    """What `sys.settrace` says of it."""
    told = []
    encoder = Encoder(depth=3, items=100, size=1024, redact=str, action=lambda _: 0, withheld=lambda *_: "")

    def trace(frame, event, arg):  # type: ignore[no-untyped-def]
        code = frame.f_code
        if code.co_filename != FILE:
            return None
        if event in ("line", "call"):
            is_call = event == "call" and is_fresh(frame)
            if event == "line" or is_call:
                names = arguments(code) if is_call else None
                local = {
                    name: plain(json.loads(encoder.encode(value)))
                    for name, value in frame.f_locals.items()
                    if names is None or name in names
                }
                told.append([code.co_qualname, event, 0 if is_call else frame.f_lineno, local])
        return trace

    seen = set()

    def is_fresh(frame):  # type: ignore[no-untyped-def]
        """Whether the call is none of a generator that goes on."""
        if frame in seen:
            return False
        seen.add(frame)
        return True

    sys.settrace(trace)
    try:
        program()
    finally:
        sys.settrace(None)
    return told


def arguments(code):  # type: ignore[no-untyped-def]
    number = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
    return code.co_varnames[:number]


def recorded(program, folder, engine):  # type: ignore[no-untyped-def]
    """What the recorder says of it."""
    api.start(folder, policy={"engine": engine}, only=[FILE])
    try:
        program()
    finally:
        api.stop()
    told = []
    (segment,) = Path(folder).glob("*.seg")
    replay = Replay()
    for block in read_blocks(segment.read_bytes()):
        for event in replay.feed(block):
            function = replay.functions[event.frame.function]
            name = function.name
            if event.kind == "line":
                told.append([name, "line", event.line, plain(dict(event.frame.variables))])
            elif event.kind == "call":
                given = {one: value for one, value in event.values if one in function.arguments}
                told.append([name, "call", 0, plain(given)])
    return told


def plain(value):  # type: ignore[no-untyped-def]
    """Without addresses, which differ from run to run."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if not isinstance(value, list):
        return float_form(value) if isinstance(value, float) else value
    if value[:1] in (["object"], ["opaque"]) and len(value) > 2:
        value = [*value[:2], 0, *value[3:]]
    return [plain(inner) for inner in value]


def main() -> None:
    name, folder, engine = sys.argv[1:]
    program = getattr(programs, name)
    program()  # what is imported and cached at the first run is there at both
    accounts = {"oracle": oracle(program), "recorded": recorded(program, folder, engine)}
    json.dump(accounts, sys.stdout)


if __name__ == "__main__":
    main()
