"""The recorder's errors: documented kinds, codes and text, in the one tree, and safe to make of anything."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest

from devtrace import errors as tree
from devtrace.recorder import errors
from devtrace.recorder.errors import caught, trailer

KINDS = {
    errors.UsageError: ("Usage", tree.UsageError),
    errors.EnvironmentError: ("Environment", tree.EnvironmentError),
    errors.TargetError: ("Target", tree.TargetError),
    errors.InternalError: ("Internal", tree.InternalError),
}
DOCUMENTED = [
    "ERR_UNKNOWN",
    "ERR_ALREADY_TRACING",
    "ERR_TRACE_DIR_CONFLICT",
    "ERR_TRACE_DIR_CREATE_FAILED",
    "ERR_UNSUPPORTED_FORMAT",
    "ERR_MISSING_POSITIONAL_ARG",
    "ERR_MISSING_KEYWORD_ARG",
    "ERR_FRAME_INTROSPECTION_FAILED",
    "ERR_GLOBALS_INTROSPECTION_FAILED",
    "ERR_TRACER_INSTALL_CONFLICT",
    "ERR_IO",
    "ERR_INVALID_POLICY_VALUE",
    "ERR_TRACE_MISSING",
    "ERR_TRACE_INCOMPLETE",
]


class TellsOnUse:
    """Whose text is code of the user's, which must not be run."""

    asked = 0

    def __str__(self) -> str:
        TellsOnUse.asked += 1
        return "told"

    __repr__ = __str__


@pytest.mark.parametrize("ours", KINDS)
def test_each_kind_is_one_of_the_recorder_and_one_of_the_tree(ours: type[errors.RecorderError]) -> None:
    kind, base = KINDS[ours]

    error = ours("words", code="ERR_IO")

    assert error.kind == kind
    assert isinstance(error, errors.RecorderError)
    assert isinstance(error, base)
    assert isinstance(error, tree.DevTraceError)
    assert error.exit_status == base.exit_status


def test_an_environment_error_is_no_os_error() -> None:
    assert not issubclass(errors.EnvironmentError, OSError)


def test_the_documented_codes_are_these_fourteen() -> None:
    assert list(errors.CODES) == DOCUMENTED
    assert len(DOCUMENTED) == 14


@pytest.mark.parametrize("code", DOCUMENTED)
def test_each_documented_code_has_one_sentence(code: str) -> None:
    meaning = tree.CODES[code]

    assert meaning.endswith(".")
    assert ". " not in meaning


def test_its_text_names_the_code_the_context_and_the_cause() -> None:
    with pytest.raises(errors.EnvironmentError) as told:
        raise errors.EnvironmentError(
            "no trace could be written", code="ERR_IO", context={"path": "t", "at": 3}
        ) from OSError(28, "No space left on device")

    text = "[ERR_IO] no trace could be written (at=3, path=t): caused by [Errno 28] No space left on device"
    assert str(told.value) == text
    assert told.value.context == {"path": "t", "at": "3"}


def test_its_text_is_short_where_there_is_no_context_and_no_cause() -> None:
    assert (
        str(errors.UsageError("asked twice", code="ERR_ALREADY_TRACING"))
        == "[ERR_ALREADY_TRACING] asked twice"
    )


def test_a_cause_of_ours_is_told_with_its_own_code() -> None:
    error = errors.TargetError("no run", code="ERR_TRACE_MISSING")
    error.__cause__ = errors.EnvironmentError("no space", code="ERR_IO")

    assert str(error) == "[ERR_TRACE_MISSING] no run: caused by [ERR_IO] no space"


def test_a_cause_without_words_is_told_by_its_name() -> None:
    error = errors.TargetError("no run", code="ERR_TRACE_MISSING")
    error.__cause__ = TimeoutError()

    assert str(error) == "[ERR_TRACE_MISSING] no run: caused by TimeoutError"


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_error_goes_to_another_process_whole(again) -> None:
    error = errors.UsageError("words", code="ERR_IO", hint="look", context={"a": "b"})

    other = again(error)

    assert type(other) is errors.UsageError
    assert (str(other), other.hint, other.context) == (str(error), "look", {"a": "b"})


def test_a_foreign_exception_becomes_an_internal_error_that_says_where() -> None:
    error = caught(ZeroDivisionError("division by zero"), "on_line")

    assert type(error) is errors.InternalError
    assert error.code == "ERR_UNKNOWN"
    assert str(error) == "[ERR_UNKNOWN] panic in on_line: ZeroDivisionError: division by zero"


def test_a_foreign_exception_is_told_once_though_it_is_the_cause_too() -> None:
    foreign = ZeroDivisionError("division by zero")
    error = caught(foreign, "on_line")
    error.__cause__ = foreign

    assert str(error) == "[ERR_UNKNOWN] panic in on_line: ZeroDivisionError: division by zero"


def test_an_error_of_the_recorder_is_left_as_it_is() -> None:
    error = errors.UsageError("words", code="ERR_IO")

    assert caught(error, "start") is error


@pytest.mark.parametrize("ours", KINDS)
def test_an_error_of_the_tree_keeps_its_kind_code_and_hint(ours: type[errors.RecorderError]) -> None:
    _, base = KINDS[ours]

    error = caught(base("no store", code="ERR_STORE_MISSING", hint="init", context={"n": 1}), "start")

    assert type(error) is ours
    assert (error.message, error.code, error.hint) == ("no store", "ERR_STORE_MISSING", "init")
    assert error.context == {"n": "1"}


def overridden(name: str) -> BaseException:
    """An exception of the user's that would run his code if it were asked for its text, name or class."""

    def tell(_: object) -> str:
        TellsOnUse.asked += 1
        return "told"

    meta = type("Meta", (type,), {"__name__": property(tell), "__flags__": property(lambda _: 0)})
    body = {"__str__": tell, "__repr__": tell, "__class__": property(tell)}
    return meta(name, (Exception,), body)("words")


@pytest.mark.parametrize(
    ("foreign", "text"),
    [
        (overridden("Theirs"), "panic in values: Theirs"),
        (ValueError(TellsOnUse()), "panic in values: ValueError"),
        (OSError(2, "No such file", TellsOnUse()), "panic in values: FileNotFoundError"),
        (ExceptionGroup("both", [ValueError(TellsOnUse())]), "panic in values: ExceptionGroup"),
        (RecursionError(), "panic in values: RecursionError"),
    ],
    ids=["own class", "argument", "file name", "group", "no words"],
)
def test_telling_of_an_exception_runs_no_code_of_the_user(foreign: BaseException, text: str) -> None:
    TellsOnUse.asked = 0

    error = caught(foreign, "values")

    assert str(error) == f"[ERR_UNKNOWN] {text}"
    assert TellsOnUse.asked == 0


def test_the_trailer_is_one_line_of_json_with_the_documented_fields() -> None:
    error = errors.UsageError("two\nlines: é", code="ERR_IO", hint="h", context={"path": "t"})

    line = trailer(error, run_id="r", trace_id=None)

    assert line.isascii()
    assert "\n" not in line
    assert json.loads(line) == {
        "run_id": "r",
        "trace_id": None,
        "error_code": "ERR_IO",
        "error_kind": "Usage",
        "message": "two\nlines: é",
        "context": {"path": "t"},
    }


def test_the_trailer_of_an_error_of_the_tree_has_the_documented_kind() -> None:
    error = tree.EnvironmentError("no store", code="ERR_STORE_MISSING", context={"path": Path("t")})

    told = json.loads(trailer(error, run_id="r", trace_id="t"))

    assert (told["error_kind"], told["trace_id"], told["context"]) == ("Environment", "t", {"path": "t"})


def test_what_a_trailer_says_freely_can_be_redacted() -> None:
    error = errors.UsageError("secret", code="ERR_IO", context={"value": "secret"})

    told = json.loads(trailer(error, run_id="r", trace_id=None, redact=lambda text: text[:1]))

    assert (told["message"], told["context"]) == ("s", {"value": "s"})
