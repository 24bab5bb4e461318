"""The edge where errors become text, a JSON trailer and an exit status.

0 done, 1 could not, 2 asked wrongly, 3 our bug (a log says more), 130 Ctrl-C.

Lives here: `guarded`, around every command. Not here: the errors (errors.py), what a command says (its own
file). Standard library and the light floor only: `devtrace shell` passes through here before it forks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from devtrace.errors import DevTraceError, InternalError
from devtrace.views.safe import safe

_FLAG = "--json-errors"
_INTERRUPTED = 130
_LOG_LIMIT = 1 << 20  # bytes after which the log is begun anew


def take_json_errors(argv: Sequence[str]) -> tuple[list[str], bool]:
    """The command line without `--json-errors`, and whether it was there.

    What follows a `--` belongs to somebody else, and so does what follows the target of `record`, which reads
    the option itself; `shell` and `run` do so too: for them it stays, behind their name.
    """
    end = argv.index("--") if "--" in argv else len(argv)
    words = [word for word in argv[:end] if word != _FLAG]
    if words[:1] in (["shell"], ["run"], ["record"]):
        before = argv.index(words[0])
        return [words[0], *argv[:before], *argv[before + 1 :]], _FLAG in argv[:end]
    return [*words, *argv[end:]], _FLAG in argv[:end]


def guarded(run: Callable[[], int], *, json_errors: bool = False) -> int:
    """Run a command; whatever it raises is told on stderr and becomes the exit status."""
    try:
        status = run()
        sys.stdout.flush()
        return status
    except InternalError as error:
        return tell(_logged(error), json_errors=json_errors)
    except DevTraceError as error:
        return tell(error, json_errors=json_errors)
    except BrokenPipeError:
        # The reader, `head` for one, has what it wanted. Nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:
        return tell(_logged(error), json_errors=json_errors)


def tell(error: DevTraceError, *, json_errors: bool = False) -> int:
    """Write an error and its hint on stderr, and its JSON trailer if asked for; returns the exit status."""
    sys.stderr.write(f"{_red('error:')} {safe(error.message)} [{error.code}]\n")
    if error.hint:
        sys.stderr.write(f" hint: {safe(error.hint)}\n")
    if json_errors:
        import json

        sys.stderr.write(json.dumps(error.as_dict(), default=str) + "\n")
    sys.stderr.flush()
    return error.exit_status


def say(text: str) -> None:
    """One sentence on stderr, where talk belongs."""
    sys.stderr.write(safe(text) + "\n")
    sys.stderr.flush()


def _red(word: str) -> str:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stderr.isatty()
    return word if plain else f"\x1b[1;31m{word}\x1b[0m"


def _logged(error: Exception) -> InternalError:
    """Our bug, as the user is told of it; the traceback goes to a log."""
    import traceback

    details = "".join(traceback.format_exception(error))
    what = f"{type(error).__name__}: {error}".strip()
    try:
        path = _log(details)
    except Exception:  # the disk is full, or the policy itself is what failed
        sys.stderr.write(safe(details, keep="\n"))
        hint = "no log could be written; please report the text above"
    else:
        hint = f"the details are in {path}; please report them"
    return InternalError(f"a bug in devtrace: {what}", code="ERR_INTERNAL", hint=hint)


def _log(details: str) -> Path:
    from devtrace import workspace
    from devtrace.policy.chain import Policy

    try:
        folder = workspace.find().log
        folder.mkdir(mode=0o700, exist_ok=True)
    except DevTraceError:
        folder = workspace.runtime_base()
    path = folder / "errors.log"
    fresh = os.O_TRUNC if path.exists() and path.stat().st_size > _LOG_LIMIT else os.O_APPEND
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | fresh, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(Policy.for_session(dict(os.environ), None).redact_text(details) + "\n")
    return path
