"""The recorder's policy: each documented key, default, name in the environment, alias and spelling."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devtrace.recorder import policy
from devtrace.recorder.errors import UsageError
from devtrace.recorder.policy import (
    KEYS,
    configure_policy,
    configure_policy_from_env,
    current,
    policy_snapshot,
)

# key: (default, our name, CodeTracer's name)
DOCUMENTED: dict[str, tuple[Any, str, str | None]] = {
    "on_recorder_error": ("abort", "DEVTRACE_ON_RECORDER_ERROR", "CODETRACER_ON_RECORDER_ERROR"),
    "require_trace": (False, "DEVTRACE_REQUIRE_TRACE", "CODETRACER_REQUIRE_TRACE"),
    "keep_partial_trace": (False, "DEVTRACE_KEEP_PARTIAL_TRACE", "CODETRACER_KEEP_PARTIAL_TRACE"),
    "log_level": (None, "DEVTRACE_LOG_LEVEL", "CODETRACER_LOG_LEVEL"),
    "log_file": (None, "DEVTRACE_LOG_FILE", "CODETRACER_LOG_FILE"),
    "json_errors": (False, "DEVTRACE_JSON_ERRORS", "CODETRACER_JSON_ERRORS"),
    "io_capture_line_proxies": (True, "DEVTRACE_CAPTURE_IO", "CODETRACER_CAPTURE_IO"),
    "io_capture_fd_fallback": (False, "DEVTRACE_CAPTURE_IO", "CODETRACER_CAPTURE_IO"),
    "module_name_from_globals": (
        True,
        "DEVTRACE_MODULE_NAME_FROM_GLOBALS",
        "CODETRACER_MODULE_NAME_FROM_GLOBALS",
    ),
    "propagate_script_exit": (True, "DEVTRACE_PROPAGATE_SCRIPT_EXIT", "CODETRACER_PROPAGATE_SCRIPT_EXIT"),
    "detail": ("values", "DEVTRACE_RECORD_DETAIL", None),
    "follow": ("python", "DEVTRACE_RECORD_FOLLOW", None),
    "trace_mb": (512, "DEVTRACE_RECORD_TRACE_MB", None),
    "fold_mb": (64, "DEVTRACE_RECORD_FOLD_MB", None),
    "value_depth": (3, "DEVTRACE_RECORD_VALUE_DEPTH", None),
    "value_items": (100, "DEVTRACE_RECORD_VALUE_ITEMS", None),
    "value_bytes": (1024, "DEVTRACE_RECORD_VALUE_BYTES", None),
    "engine": ("auto", "DEVTRACE_RECORD_ENGINE", None),
}
FLAGS = [key for key, (default, _, _) in DOCUMENTED.items() if type(default) is bool and "io" not in key[:3]]
NUMBERS = [key for key, (default, _, _) in DOCUMENTED.items() if type(default) is int]
CHOICES = {
    "on_recorder_error": ("abort", "disable"),
    "detail": ("calls", "lines", "values"),
    "follow": ("none", "python", "all"),
    "engine": ("auto", "monitoring", "settrace"),
}
TRUE = ["1", "true", "t", "yes", "y", "TRUE", " Yes "]
FALSE = ["0", "false", "f", "no", "n", "False", "N "]

OFF, PROXIES, BOTH = (False, False), (True, False), (True, True)
CAPTURE_IO = {
    **dict.fromkeys(["0", "off", "false", "disable", "disabled", "none", "OFF"], OFF),
    **dict.fromkeys(
        ["", "  ", "1", "on", "true", "enable", "enabled", "proxies", "proxy", "Proxies"], PROXIES
    ),
    **dict.fromkeys(["fd", "mirror", "fallback", "proxies+fd", "proxy,mirror", "fd + proxies", "fd,"], BOTH),
}


@pytest.fixture(autouse=True)
def _default_policy() -> Iterator[None]:
    """Each test begins with the defaults and leaves them."""
    restore()
    yield
    restore()


def restore() -> None:
    configure_policy({key: "" if default is None else default for key, (default, _, _) in DOCUMENTED.items()})


def io_capture() -> tuple[bool, bool]:
    return current().io_capture_line_proxies, current().io_capture_fd_fallback


# --- keys and defaults ---


def test_every_key_is_documented_here_and_has_a_meaning() -> None:
    assert list(KEYS) == list(DOCUMENTED)
    assert [name for name, key in KEYS.items() if not key.meaning.endswith(".")] == []


@pytest.mark.parametrize("key", DOCUMENTED)
def test_each_key_has_its_default_and_its_names_in_the_environment(key: str) -> None:
    default, *names = DOCUMENTED[key]

    assert KEYS[key].default == default
    assert type(KEYS[key].default) is type(default)
    assert KEYS[key].environment == tuple(filter(None, names))
    assert getattr(
        policy.RecorderPolicy({k: spec.default for k, spec in KEYS.items()} | {"log_path": None}), key
    ) == (default)


def test_a_snapshot_holds_the_documented_shape() -> None:
    assert policy_snapshot() == {
        "on_recorder_error": "abort",
        "require_trace": False,
        "keep_partial_trace": False,
        "log_level": None,
        "log_file": None,
        "json_errors": False,
        "module_name_from_globals": True,
        "propagate_script_exit": True,
        "detail": "values",
        "follow": "python",
        "trace_mb": 512,
        "fold_mb": 64,
        "value_depth": 3,
        "value_items": 100,
        "value_bytes": 1024,
        "engine": "auto",
        "io_capture": {"line_proxies": True, "fd_fallback": False},
    }


def test_a_snapshot_is_the_callers_own() -> None:
    taken = policy_snapshot()
    taken["trace_mb"] = 1
    taken["io_capture"]["line_proxies"] = False

    assert policy_snapshot()["trace_mb"] == 512
    assert policy_snapshot()["io_capture"]["line_proxies"] is True


def test_the_policy_in_force_does_not_change_in_the_callers_hands() -> None:
    held = current()

    configure_policy(trace_mb=7)

    assert (held.trace_mb, current().trace_mb) == (512, 7)


# --- values ---


@pytest.mark.parametrize("key", FLAGS)
@pytest.mark.parametrize("value", [True, False])
def test_a_boolean_key_takes_a_boolean(key: str, value: bool) -> None:
    configure_policy(**{key: value})

    assert getattr(current(), key) is value


@pytest.mark.parametrize(("key", "word"), [(key, word) for key, words in CHOICES.items() for word in words])
def test_a_key_of_choices_takes_each_of_them(key: str, word: str) -> None:
    configure_policy(**{key: f" {word.upper()}"})

    assert policy_snapshot()[key] == word


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("given", [9, "9", " 9 "])
def test_a_key_of_numbers_takes_a_number_and_its_digits(key: str, given: int | str) -> None:
    configure_policy(**{key: given})

    assert policy_snapshot()[key] == 9


@pytest.mark.parametrize("key", ["fold_mb", "value_depth", "value_items", "value_bytes"])
def test_nothing_at_all_is_a_number_too(key: str) -> None:
    configure_policy(**{key: 0})

    assert policy_snapshot()[key] == 0


@pytest.mark.parametrize("key", ["log_level", "log_file"])
@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_text_clears_what_the_log_was_told(key: str, empty: str) -> None:
    configure_policy(**{key: "debug"})

    configure_policy(**{key: empty})

    assert policy_snapshot()[key] is None
    assert current().log_path is None


@pytest.mark.parametrize("form", [str, Path, os.fsencode])
def test_a_log_file_is_a_path_in_any_form(form: Any, tmp_path: Path) -> None:
    configure_policy(log_file=form(str(tmp_path / "log")))

    assert current().log_file == current().log_path == str(tmp_path / "log")


def test_a_log_file_stays_where_it_was_when_the_program_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    configure_policy(log_file="sub/../log")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    configure_policy(trace_mb=3)

    assert current().log_file == "sub/../log"
    assert current().log_path == str(tmp_path / "sub/../log")


@pytest.mark.parametrize("key", DOCUMENTED)
def test_none_leaves_a_key_as_it_is(key: str) -> None:
    configure_policy(on_recorder_error="disable", trace_mb=7, log_level="debug", io_capture="proxies+fd")
    before = policy_snapshot()

    configure_policy(**{key: None})
    configure_policy({key: None, "io_capture": None})

    assert policy_snapshot() == before


BAD = [
    *[(key, value) for key in FLAGS for value in ("", "maybe", "on", 1, 0.0, [])],
    *[(key, value) for key in CHOICES for value in ("", "other", 1, True)],
    *[(key, value) for key in NUMBERS for value in ("", "many", "-1", -1, 1.5, True, "1_0", "٣", 10**5000)],
    ("trace_mb", 0),
    ("log_level", "loud"),
    ("log_level", "devtrace.recorder=loud"),
    ("log_level", 3),
    ("log_file", 3),
    ("log_file", "a\0b"),
    ("io_capture", 3),
    ("io_capture", "everything"),
    ("io_capture", ","),
    ("io_capture", {"line_proxies": "on"}),
    ("io_capture_line_proxies", "on"),
    ("io_capture_fd_fallback", 1),
]


@pytest.mark.parametrize(("key", "value"), BAD, ids=[f"{key}={str(type(value))[8:-2]}" for key, value in BAD])
def test_a_bad_value_is_refused_and_changes_nothing(key: str, value: object) -> None:
    before = policy_snapshot()

    with pytest.raises(UsageError, match=f"invalid {key}") as told:
        configure_policy(**{"trace_mb": 7, "json_errors": True, key: value})

    assert told.value.code == "ERR_INVALID_POLICY_VALUE"
    assert policy_snapshot() == before


def test_a_bad_value_is_told_with_what_fits() -> None:
    with pytest.raises(UsageError) as told:
        configure_policy(on_recorder_error="ignore")

    assert str(told.value) == (
        "[ERR_INVALID_POLICY_VALUE] invalid on_recorder_error value 'ignore' (expected 'abort' or 'disable') "
        "(key=on_recorder_error)"
    )


def test_a_value_that_does_not_fit_is_not_asked_for_its_text() -> None:
    class Theirs:
        def __repr__(self) -> str:
            raise AssertionError("the recorder ran code of the user's")

    with pytest.raises(UsageError, match="of type Theirs"):
        configure_policy(require_trace=Theirs())


@pytest.mark.parametrize(
    "call",
    [
        lambda: configure_policy(require_traces=True),
        lambda: configure_policy({"require_traces": True}),
        lambda: configure_policy(require_traces=None),
        lambda: configure_policy({"io_capture": {"lines": True}}),
    ],
)
def test_an_unknown_key_is_an_unexpected_keyword(call: Any) -> None:
    with pytest.raises(TypeError, match=r"unexpected keyword argument '(require_traces|io_capture.lines)'"):
        call()


# --- mappings, as start(policy=...) takes them ---


def test_a_mapping_is_taken_like_keywords_and_keywords_win() -> None:
    configure_policy({"trace_mb": 7, "fold_mb": 8}, fold_mb=9)

    assert (current().trace_mb, current().fold_mb) == (7, 9)


def test_what_a_snapshot_says_can_be_set_again() -> None:
    configure_policy(detail="calls", io_capture="proxies+fd", log_level="info", propagate_script_exit=False)
    taken = policy_snapshot()
    restore()

    configure_policy(taken)

    assert policy_snapshot() == taken


# --- what is printed ---


@pytest.mark.parametrize(("text", "expected"), CAPTURE_IO.items())
@pytest.mark.parametrize("before", ["off", "proxies+fd"])
def test_io_capture_takes_each_documented_word(text: str, expected: tuple[bool, bool], before: str) -> None:
    configure_policy(io_capture=before)

    configure_policy(io_capture=text)

    assert io_capture() == expected


@pytest.mark.parametrize(("text", "expected"), CAPTURE_IO.items())
@pytest.mark.parametrize("name", ["CODETRACER_CAPTURE_IO", "DEVTRACE_CAPTURE_IO"])
def test_the_environment_takes_each_documented_word(
    text: str, expected: tuple[bool, bool], name: str
) -> None:
    configure_policy_from_env({name: text})

    assert io_capture() == expected


@pytest.mark.parametrize(
    ("before", "given", "expected"),
    [
        ("proxies+fd", {"io_capture_line_proxies": False}, OFF),
        ("proxies+fd", {"io_capture_line_proxies": False, "io_capture_fd_fallback": True}, OFF),
        ("proxies+fd", {"io_capture_fd_fallback": False}, PROXIES),
        ("off", {"io_capture_fd_fallback": True}, OFF),
        ("off", {"io_capture_fd_fallback": True, "io_capture_line_proxies": True}, BOTH),
        ("off", {"io_capture": {"line_proxies": True, "fd_fallback": True}}, BOTH),
        ("off", {"io_capture": {"line_proxies": True}}, PROXIES),
        ("proxies", {"io_capture": {"fd_fallback": True, "line_proxies": None}}, BOTH),
        ("proxies+fd", {"io_capture": {"line_proxies": False}}, OFF),
        ("proxies+fd", {"trace_mb": 7}, BOTH),
    ],
)
def test_the_fallback_needs_the_proxies(
    before: str, given: dict[str, Any], expected: tuple[bool, bool]
) -> None:
    configure_policy(io_capture=before)

    configure_policy(given)

    assert io_capture() == expected


# --- the environment ---


NAMES = [
    (key, name)
    for key, (_, *names) in DOCUMENTED.items()
    for name in names
    if name is not None and not key.startswith("io_capture")
]


def other(key: str) -> tuple[str, Any]:
    """A value that is not the default: as the environment says it, and as it is kept."""
    default = DOCUMENTED[key][0]
    if isinstance(default, bool):
        return str(not default), not default
    if isinstance(default, int):
        return "8", 8
    word = {"log_file": "/var/log/recorder", "log_level": "debug"}.get(key)
    word = word or next(word for word in CHOICES[key] if word != default)
    return word, word


@pytest.mark.parametrize(("key", "name"), NAMES)
def test_each_name_in_the_environment_sets_its_key_and_no_other(key: str, name: str) -> None:
    text, value = other(key)
    before = policy_snapshot()

    configure_policy_from_env({name: text})

    assert policy_snapshot() == before | {key: value}


@pytest.mark.parametrize("key", [key for key, (_, _, old) in DOCUMENTED.items() if old and key[:3] != "io_"])
def test_our_name_wins_over_the_old_one(key: str) -> None:
    _, ours, theirs = DOCUMENTED[key]
    text, value = other(key)

    configure_policy_from_env({str(theirs): "not looked at", ours: text})

    assert policy_snapshot()[key] == value


def test_our_name_for_what_is_printed_wins_over_the_old_one() -> None:
    configure_policy_from_env({"CODETRACER_CAPTURE_IO": "proxies+fd", "DEVTRACE_CAPTURE_IO": "off"})

    assert io_capture() == OFF


@pytest.mark.parametrize("key", FLAGS)
@pytest.mark.parametrize("word", TRUE + FALSE)
def test_a_boolean_is_spelled_in_the_documented_ways(key: str, word: str) -> None:
    configure_policy(**{key: word not in TRUE})

    configure_policy_from_env({DOCUMENTED[key][1]: word})

    assert getattr(current(), key) is (word in TRUE)


@pytest.mark.parametrize("key", FLAGS)
@pytest.mark.parametrize("word", ["", "maybe", "2", "on", "off", "enable", "tru"])
def test_another_spelling_of_a_boolean_is_refused(key: str, word: str) -> None:
    name = DOCUMENTED[key][1]

    with pytest.raises(UsageError) as told:
        configure_policy_from_env({name: word, "DEVTRACE_RECORD_DETAIL": "calls"})

    assert told.value.code == "ERR_INVALID_POLICY_VALUE"
    assert told.value.context == {"environment": name}
    assert name in told.value.hint
    assert current().detail == "values"


@pytest.mark.parametrize("name", ["CODETRACER_LOG_LEVEL", "DEVTRACE_LOG_LEVEL", "CODETRACER_LOG_FILE"])
def test_an_empty_variable_clears_what_the_log_was_told(name: str) -> None:
    configure_policy(log_level="debug", log_file="/var/log/recorder")

    configure_policy_from_env({name: ""})

    assert policy_snapshot()[name.partition("_")[2].lower()] is None


def test_an_environment_that_says_nothing_changes_nothing() -> None:
    configure_policy(trace_mb=7, io_capture="off")

    configure_policy_from_env({"HOME": "/", "DEVTRACE_RECORD": "1"})

    assert (current().trace_mb, io_capture()) == (7, OFF)


def test_the_environment_is_the_process_own_unless_another_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODETRACER_ON_RECORDER_ERROR", "disable")

    configure_policy_from_env()

    assert current().on_recorder_error == "disable"
