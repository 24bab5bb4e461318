"""What a target is, where it is found, and what plain python makes of it before it runs.

    script   a file with Python in it, or a .pyc     folder   a directory or zip file with a __main__.py
    module   -m     code   -c     stdin   -

Lives here: a name looked up as a file and on PATH, `sys.path[0]`, `__loader__`, `__file__`, the code object.
Not here: the order in which that happens (launch.py), the command line (arguments.py). Paths stay as python
makes them of what was typed, so this is not for pathlib, which tidies them.
"""

from __future__ import annotations

import io
import os
import sys
from types import CodeType
from typing import Any

from devtrace.recorder.arguments import Target
from devtrace.recorder.errors import TargetError

_ROOMS = ("pytest", "unittest")  # a bare name that means -m
_LONGEST_SHEBANG = 512  # bytes of a file's start; pip writes two lines for a long path


def resolved(target: Target) -> Target:
    """The target with a kind that can be run, its source read. Raises TargetError ERR_TARGET_START."""
    if target.kind == "stdin":
        return _stdin(target)
    if target.kind != "name":
        return target
    name = target.name
    if not os.path.exists(name) and os.sep not in name:
        if name in _ROOMS:
            return Target("module", name, target.arguments)
        name = _on_path(name)
    if not os.path.exists(name):
        raise _cannot(f"there is no {name}", "name a file, a command on PATH, or a module with -m")
    if _is_folder(name):
        return Target("folder", name, target.arguments)
    return _script(name, target.arguments)


def interpreter_of(name: str) -> str | None:
    """The Python that a console script on PATH was installed for; None for anything else."""
    if os.path.exists(name) or os.sep in name or name in _ROOMS:
        return None
    found = _which(name)
    return None if found is None else _shebang(found)


def filename(target: Target) -> str:
    """`__file__`, and what tracebacks show: made absolute, and not tidied."""
    if target.kind == "stdin":
        return "<stdin>"
    return target.name if os.path.isabs(target.name) else os.path.join(os.getcwd(), target.name)


def path_entry(target: Target) -> str | None:
    """`sys.path[0]`; None where there is none (Python/pathconfig.c, _PyPathConfig_ComputeSysPath0)."""
    if target.kind == "folder":
        return filename(target)
    if sys.flags.safe_path:
        return None
    if target.kind == "script":
        return os.path.dirname(os.path.realpath(target.name))
    if target.kind == "module":
        try:
            return os.getcwd()
        except OSError:  # it was removed
            return None
    return ""


def loader(target: Target) -> Any:
    """`__loader__` of `__main__`."""
    import _frozen_importlib_external as external
    from importlib.machinery import BuiltinImporter

    if target.kind != "script":
        return BuiltinImporter
    kind = external.SourcelessFileLoader if target.name.endswith(".pyc") else external.SourceFileLoader
    return kind("__main__", filename(target))


def code(target: Target) -> CodeType:
    """The code object of a script, of -c or of stdin. Raises what compiling raises."""
    if target.kind == "code":
        made = compile(target.name + "\n", "<string>", "exec", dont_inherit=True)
        _show_lines(made, target.name)
        return made
    if target.name.endswith(".pyc"):
        return _unmarshalled(target.source)
    return compile(target.source, filename(target), "exec", dont_inherit=True)


def _stdin(target: Target) -> Target:
    try:
        with open(0, "rb", closefd=False) as file:
            target.source = file.read()
    except OSError as error:
        raise _cannot(
            f"standard input cannot be read: {error.strerror}", "write the program there"
        ) from error
    return target


def _script(name: str, words: list[str]) -> Target:
    target = Target("script", name, words)
    try:
        with io.open_code(os.path.abspath(name)) as file:
            target.source = file.read()
    except OSError as error:
        raise _cannot(f"{name} cannot be read: {error.strerror}", "look at its permissions") from error
    return target


def _is_folder(name: str) -> bool:
    """Whether python would look for a `__main__` inside: what `sys.path` could hold."""
    for hook in sys.path_hooks:
        try:
            hook(name)
        except ImportError:  # as a hook says that a path is not its own
            continue
        return True
    return False


def _on_path(name: str) -> str:
    found = _which(name)
    if found is None:
        raise _cannot(
            f"there is no file and no command {name}", "name a file, a command on PATH, or a module with -m"
        )
    if _shebang(found) is None:
        raise _cannot(f"{found} is no Python script", f"record any program with `devtrace run -- {name}`")
    return found


def _which(name: str) -> str | None:
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def _shebang(path: str) -> str | None:
    """The Python in a script's first line, or in the second where a shell starts it; None for none."""
    try:
        with open(path, "rb") as file:
            start = os.fsdecode(file.read(_LONGEST_SHEBANG))
    except OSError:
        return None
    first, _, rest = start.partition("\n")
    words = first[2:].split() if first.startswith("#!") else []
    if words[:1] == ["/bin/sh"] and rest.startswith("'''exec' "):  # distlib, for a path that is too long
        words = [rest[len("'''exec' ") :].partition(' "$0"')[0].strip('"')]
    if words and os.path.basename(words[0]) == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return words[0] if words and os.path.basename(words[0]).startswith("python") else None


def _show_lines(made: CodeType, source: str) -> None:
    """Since 3.13 the traceback of -c shows its lines (pythonrun.c, _PyRun_SimpleStringFlagsWithName)."""
    if sys.version_info < (3, 13):
        return
    import linecache

    register = getattr(linecache, "_register_code", None)
    if register is not None:
        by_code = hasattr(linecache, "_interactive_cache")  # until 3.13.0 it is known by its name
        register(made if by_code else "<string>", source + "\n", "<string>")


def _unmarshalled(data: bytes) -> CodeType:
    import marshal
    from importlib.util import MAGIC_NUMBER

    if data[:4] != MAGIC_NUMBER:
        raise RuntimeError("Bad magic number in .pyc file")
    loaded = marshal.loads(data[16:])  # noqa: S302 - the user's own program
    if not isinstance(loaded, CodeType):
        raise RuntimeError("Bad code object in .pyc file")
    return loaded


def _cannot(message: str, hint: str) -> TargetError:
    return TargetError(message, code="ERR_TARGET_START", hint=hint)
