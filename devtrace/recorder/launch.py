"""Run a program exactly as plain `python` does, with something begun before it and ended after it.

What a program can see of how it was started is made as CPython makes it (Modules/main.c, Python/pythonrun.c):
the module `__main__`, `sys.argv`, `sys.path[0]`, `sys.orig_argv`; what it leaves (an exception, SystemExit,
KeyboardInterrupt) ends the process as it would there. It can see two things: our frames below its own on the
stack, and our modules in `sys.modules`.
Not here: the options (arguments.py), what is begun (api.py), what the program is and where it is found
(targets.py), its children (children.py).
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from devtrace.errors import DevTraceError, UsageError
from devtrace.recorder import arguments, targets
from devtrace.recorder.arguments import Options, Target
from devtrace.recorder.children import INTERRUPTED
from devtrace.recorder.exits import exit_status

_SCRIPT_LIKE = ("script", "code", "stdin")  # whose streams are flushed before anything is said of their end
_OUR_FILES = {(lambda: 0).__code__.co_filename, targets.code.__code__.co_filename}
_WRONG = (UsageError, ValueError, TypeError, FileNotFoundError)  # what `start` says of what it was given
_show = sys.__excepthook__  # the interpreter's own; what stands in sys may be changed


def from_command_line() -> Program:
    """What `python -m devtrace.recorder` runs. Raises SystemExit where that is nothing, and says why."""
    try:
        options = arguments.parse(sys.argv[1:])
        target = None if options.target is None else targets.resolved(options.target)
    except DevTraceError as error:
        wants_json = any("json-errors" in word for word in sys.argv[1:])
        raise SystemExit(tell_error(error, wants_json=wants_json)) from None
    if target is None:
        _tell_about_us(options)
        raise SystemExit
    if arguments.is_off(os.environ):
        return Program(target, begin=lambda: None, end=lambda _: None)
    return _recorded(target, options)


class Program:
    """A target from `targets.resolved`, to be run by its caller, of whose frames it sees one:

        with program.ending, program.catching:
            operator.call(*program.begun())

    The two are apart so that nothing is being handled any more when an exception is told: a hook of the
    user's must not find it in `sys.exc_info`. `end(status)` is called at exit, when whatever the program
    registers to be called then has been called; `propagates()` says whether the exit status is the program's.
    """

    def __init__(
        self,
        target: Target,
        *,
        begin: Callable[[], object],
        end: Callable[[int], object],
        propagates: Callable[[], bool] = lambda: True,
    ):
        self._target = target
        self._begin = begin
        self._propagates = propagates
        self._end = _End(end)
        self._is_begun = False
        self._failure: BaseException | None = None
        self._namespace: dict[str, Any] = {}
        self.catching = _Catching(self._caught)
        self.ending = _Catching(self._ended)

    def begun(self) -> tuple[Any, ...]:
        """Begin; returns what is to be called, and with what. Raises SystemExit when nothing is to be run."""
        atexit.register(self._end)  # the first that is registered is the last that is called
        failed = _begun(self._begin)
        if failed:
            atexit.unregister(self._end)
            raise SystemExit(failed)
        self._is_begun = True
        self._namespace = _prepared(self._target)
        if self._target.kind in _SCRIPT_LIKE:
            return exec, targets.code(self._target), self._namespace
        from runpy import _run_module_as_main  # type: ignore[attr-defined]

        is_module = self._target.kind == "module"
        return _run_module_as_main, self._target.name if is_module else "__main__", is_module

    def _caught(self, failure: BaseException | None) -> bool:
        if not self._is_begun:
            return False
        if failure is not None:
            traceback = failure.__traceback__
            above = None if traceback is None else traceback.tb_next  # the caller's frame
            self._failure = failure.with_traceback(_without_ours(above))
            if "devtrace.recorder.io_hooks" in sys.modules:
                sys.modules["devtrace.recorder.io_hooks"].without_hooks(self._failure.__traceback__)
        return True

    def _ended(self, bug: BaseException | None) -> bool:
        if bug is not None:
            return False
        failure, self._failure = self._failure, None
        self._end.status = _status(failure)
        try:
            if _is_told_by_python(self._target, failure):
                _hand_over(self._end)
            _leave(self._target, failure, self._namespace, self._end.status, self._propagates())
        finally:
            del failure  # its traceback will hold this frame, and this frame would hold it
        return False


class _Catching:
    """The end of a `with` as a function of what was raised; it returns whether that is dealt with."""

    def __init__(self, leave: Callable[[BaseException | None], bool]):
        self._leave = leave

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, failure: BaseException | None, __: object) -> bool:
        return self._leave(failure)


def tell_error(error: BaseException, *, wants_json: bool = False) -> int:
    """Say on stderr why nothing is recorded; returns the exit status: 2 when it was asked wrongly, else 1."""
    from devtrace.recorder import errors, logs, policy

    code = getattr(error, "code", "ERR_USAGE" if isinstance(error, _WRONG) else "ERR_UNKNOWN")
    message = getattr(error, "message", "") or str(error) or type(error).__name__
    hint = getattr(error, "hint", "")
    if sys.stderr is not None:
        sys.stderr.write(f"error: {message} [{code}]\n" + (f" hint: {hint}\n" if hint else ""))
        sys.stderr.flush()
    if wants_json:
        policy.configure_policy(json_errors=True)
    logs.tell_trailer(errors.caught(error, "start"))
    return 2 if isinstance(error, _WRONG) else 1


def _tell_about_us(options: Options) -> None:
    from devtrace import __version__

    sys.stdout.write(f"devtrace.recorder {__version__}\n" if options.version else arguments.usage())


def _recorded(target: Target, options: Options) -> Program:
    from devtrace.recorder import api, policy

    return Program(
        target,
        begin=lambda: _start(target, options),
        end=lambda status: api.stop(exit_code=status),
        propagates=lambda: policy.current().propagate_script_exit,
    )


def _start(target: Target, options: Options) -> None:
    """Begin the trace, and tell the children. Raises what starting raises, unless the policy bears it."""
    from devtrace.recorder import api, children, errors, logs, policy

    policy.configure_policy_from_env()  # before all that may fail: what a failure means is in it
    policy.configure_policy(options.policy)
    try:
        api.start(
            options.out_dir or os.environ.get("CODETRACER_PYTHON_RECORDER_OUT_DIR") or None,
            format=options.format or "binary",
            start_on_enter=options.activation_path,
            trace_filter=options.filters or None,
            policy=options.policy or None,  # once more: it reads the environment once more
            only=tuple(options.only),
            argv=target.words,
        )
    except _WRONG:
        raise
    except Exception as error:
        ours = errors.caught(error, "start")
        if policy.current().on_recorder_error == "abort" or policy.current().require_trace:
            raise ours from error
        logs.log_error(ours)
        return
    follow = policy.current().follow
    told = children.variables(follow, options.policy, os.environ, filters=options.filters, only=options.only)
    children.tell(told, visibly=follow == "all")


class _End:
    """The last thing that is done at exit; `status` is 0 until the program has ended."""

    def __init__(self, end: Callable[[int], object]):
        self._end: Callable[[int], object] | None = end
        self.status = 0

    def __call__(self) -> None:
        end, self._end = self._end, None
        if end is None:
            return
        try:
            end(self.status)
        except Exception as error:
            failed = tell_error(error)
            if not self.status:  # no exception of an exit function reaches the status
                _flush()
                os._exit(failed)


def _begun(begin: Callable[[], object]) -> int:
    """Begin; returns the exit status when that failed, else 0."""
    try:
        begin()
    except Exception as error:
        return tell_error(error)
    return 0


# --- as plain python has it ---------------------------------------------------------------------------------


def _prepared(target: Target) -> dict[str, Any]:
    """Make sys and the module `__main__` as the program finds them; returns the module's namespace."""
    sys.orig_argv = [*_interpreter_words(), *target.words]
    first = {"module": "-m", "code": "-c"}.get(target.kind, target.name)
    sys.argv = [first, *target.arguments]
    place = targets.path_entry(target)
    if place is not None:
        sys.path.insert(0, place)
    return _fresh_main(target)


def _interpreter_words() -> list[str]:
    """The interpreter as it was called, and its options."""
    head = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
    if head[-2:-1] == ["-m"]:
        return head[:-2]
    return head[:-1]  # the path of our __main__.py, or -mdevtrace.recorder


def _fresh_main(target: Target) -> dict[str, Any]:
    """What stands in `__main__` before its first line, in the order in which python puts it there."""
    namespace = sys.modules["__main__"].__dict__
    kept = {name: namespace[name] for name in ("__annotations__", "__builtins__") if name in namespace}
    namespace.clear()
    namespace.update(__name__="__main__", __doc__=None, __package__=None, __loader__=targets.loader(target))
    namespace.update(__spec__=None, **kept)
    if "__annotations__" in namespace:
        namespace["__annotations__"] = {}
    if target.kind in ("script", "stdin"):
        namespace["__file__"] = targets.filename(target)
        namespace["__cached__"] = None
    return namespace


def _without_ours(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback above the frames of this file and of targets.py."""
    while traceback is not None and traceback.tb_frame.f_code.co_filename in _OUR_FILES:
        traceback = traceback.tb_next
    return traceback


def _status(failure: BaseException | None) -> int:
    """The exit status as a shell sees it (pythonrun.c, _Py_HandleSystemExit)."""
    if failure is None:
        return 0
    if not isinstance(failure, SystemExit):
        return INTERRUPTED if type(failure) is KeyboardInterrupt else 1
    return exit_status(_code_of(failure))


def _code_of(failure: SystemExit) -> object:
    code: object = SystemExit.__dict__["code"].__get__(failure)  # no property of a subclass is called twice
    return code


def _is_told_by_python(target: Target, failure: BaseException | None) -> bool:
    """Whether python tells a script that it cannot read as text in words that compile() does not have.

    It has read a file then, and we a string.
    """
    if target.kind != "script" or not isinstance(failure, SyntaxError | ValueError):
        return False
    if failure.__traceback__ is not None or not sys.executable:  # it ran
        return False
    told = str(failure)
    return not getattr(failure, "lineno", 0) or "(unicode error)" in told or "null bytes" in told


def _hand_over(end: _End) -> None:
    """Nothing of the program has run: let python itself say what it thinks of it."""
    end()
    _flush()
    environment = {**os.environ, "DEVTRACE_RECORD": "0"}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606


def _leave(
    target: Target, failure: BaseException | None, namespace: dict[str, Any], status: int, propagates: bool
) -> None:
    """End as python ends after that: return, or raise what makes it do so."""
    if target.kind in _SCRIPT_LIKE:
        _flush()
    if not propagates and status:
        _tell_failure(failure)
        sys.stderr.write(
            f"Script exited with status {status}; returning 0. "
            "Use '--propagate-script-exit' to return the script status.\n"
        )
        raise SystemExit(0)
    try:
        if isinstance(failure, SystemExit):
            if target.kind in _SCRIPT_LIKE or isinstance(_code_of(failure), int | None):
                raise failure
            _tell_failure(failure)  # python flushes ours before it tells, and would not for a module
            raise SystemExit(1)
        if failure is not None:
            _tell_failure(failure)
    finally:
        if target.kind in ("script", "stdin") and not isinstance(failure, SystemExit):
            namespace.pop("__file__", None)
            namespace.pop("__cached__", None)
    if type(failure) is KeyboardInterrupt:
        _interrupt(failure)
    if failure is not None:
        raise SystemExit(1)


def _flush() -> None:
    """What python does after a script, whatever comes of it (pythonrun.c, flush_io)."""
    for stream in (sys.stderr, sys.stdout):
        with contextlib.suppress(Exception):  # it is tried once more at exit, and told then
            stream.flush()


def _tell_failure(failure: BaseException | None) -> None:
    """Tell of an exception as python does (pythonrun.c, _PyErr_PrintEx)."""
    if isinstance(failure, SystemExit):
        code = _code_of(failure)
        if not isinstance(code, int | None):
            sys.stderr.write(f"{code}\n")
        return
    if failure is None:
        return
    _remember(failure)
    if not hasattr(sys, "excepthook"):
        sys.stderr.write("sys.excepthook is missing\n")
        _show(type(failure), failure, failure.__traceback__)
        return
    hook = sys.excepthook
    sys.audit("sys.excepthook", hook, type(failure), failure, failure.__traceback__)
    second = _failure_of(hook, failure)
    if isinstance(second, SystemExit):
        raise second
    if second is not None:
        _flush()
        sys.stderr.write("Error in sys.excepthook:\n")
        _show(type(second), second, second.__traceback__)
        sys.stderr.write("\nOriginal exception was:\n")
        _show(type(failure), failure, failure.__traceback__)


def _failure_of(hook: Callable[..., object], failure: BaseException) -> BaseException | None:
    try:
        hook(type(failure), failure, failure.__traceback__)
    except BaseException as error:
        return error.with_traceback(_without_ours(error.__traceback__))
    return None


def _remember(failure: BaseException) -> None:
    if sys.version_info >= (3, 12):
        sys.last_exc = failure
    sys.last_type, sys.last_value, sys.last_traceback = type(failure), failure, failure.__traceback__


def _interrupt(failure: BaseException) -> None:
    """Python dies of SIGINT after this exception alone, and once all else is done; it has been told of."""
    hook = sys.excepthook

    def be_quiet(*_: object) -> None:
        _remember(failure)
        sys.excepthook = hook

    sys.excepthook = be_quiet
    raise KeyboardInterrupt
