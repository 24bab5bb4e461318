"""`devtrace record`: the recorder's command line, carried out by the interpreter that the target is for.

It parses with the recorder's own parser, which stops at the target, and replaces itself: the interpreter
runs devtrace/recorder/__main__.py by its path, so DevTrace need not be installed there.
Not here: the options (recorder/arguments.py), running and recording (recorder/launch.py).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import which
from typing import NoReturn

import devtrace
from devtrace import workspace
from devtrace.cli.border import say
from devtrace.errors import TargetError
from devtrace.recorder import arguments, targets

PROGRAM = "devtrace record"


def main(words: Sequence[str]) -> int:
    """Run `devtrace record WORDS...`; returns for help and version only, else it becomes another program.

    Raises DevTraceError when nothing could be started.
    """
    options = arguments.parse(words, program=PROGRAM)
    if options.target is None:
        sys.stdout.write(
            f"devtrace {devtrace.__version__}\n" if options.version else arguments.usage(PROGRAM)
        )
        return 0
    python = interpreter(options.python, options.target, os.environ)
    environment = dict(os.environ)
    if not arguments.is_off(environment):
        environment["DEVTRACE_DIR"] = str(_store())
    return start(python, options.passed, environment)


def interpreter(asked: str | None, target: arguments.Target, environment: Mapping[str, str]) -> str:
    """The Python to run the target with: the one asked for, a console script's own, the active one.

    Raises TargetError ERR_TARGET_START.
    """
    path = environment.get("PATH")
    own = targets.interpreter_of(target.name) if target.kind == "name" else None
    active = environment.get("VIRTUAL_ENV")
    wanted = [asked] if asked else [own, active and str(Path(active) / "bin" / "python"), "python3", "python"]
    for name in filter(None, wanted):
        found = which(name, path=path)
        if found is not None:
            return str(Path(found).absolute())
    raise TargetError(
        f"there is no interpreter {asked}" if asked else "there is no python3 or python on PATH",
        code="ERR_TARGET_START",
        hint="name one with --python",
    )


def start(python: str, words: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Become that interpreter, which carries out `words`. Raises TargetError ERR_TARGET_START."""
    file = Path(devtrace.__file__).absolute().parent / "recorder" / "__main__.py"
    sys.stdout.flush()
    try:
        os.execve(python, [python, str(file), *words], environment)  # noqa: S606 - no shell is wanted
    except OSError as error:
        raise TargetError(
            f"{python} cannot be started: {error.strerror}",
            code="ERR_TARGET_START",
            hint="name another interpreter with --python",
        ) from error


def _store() -> Path:
    """The store for what is recorded, made where there is none."""
    place, existed = workspace.find_or_place()
    if not existed:
        from devtrace.services.init import init

        init()
        say(f"Made {place.dir} for what is recorded.")
    return place.dir.absolute()
