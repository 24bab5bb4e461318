"""The recorder's command line: every documented option, and that it ends where the target begins."""

from __future__ import annotations

import re

import pytest

from devtrace.recorder import policy
from devtrace.recorder.arguments import Options, is_off, parse, usage
from devtrace.recorder.errors import UsageError


def parsed(line: str) -> Options:
    return parse([*line.split(), "script.py"])


def refused(line: str) -> UsageError:
    with pytest.raises(UsageError) as told:
        parse(line.split())
    assert (told.value.code, told.value.exit_status) == ("ERR_USAGE", 2)
    assert told.value.hint == "see `python -m devtrace.recorder --help`"
    return told.value


# --- where it ends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "kind", "name", "arguments"),
    [
        ("script.py", "name", "script.py", []),
        ("script.py --log-level foo --require-trace", "name", "script.py", "--log-level foo --require-trace"),
        ("script.py -m x -- -V", "name", "script.py", "-m x -- -V"),
        ("-m mod --format json", "module", "mod", "--format json"),
        ("-mmod -h", "module", "mod", "-h"),
        ("-c pass -o x", "code", "pass", "-o x"),
        ("-cpass", "code", "pass", ""),
        ("- --version", "stdin", "-", "--version"),
        ("-- script.py --detail lines", "name", "script.py", "--detail lines"),
        ("-- --odd.py", "name", "--odd.py", ""),
        ("-- -m mod", "module", "mod", ""),
        ("pytest -q --log-level=x", "name", "pytest", "-q --log-level=x"),
        ("--pytest -q -m slow", "module", "pytest", "-q -m slow"),
        ("--unittest discover", "module", "unittest", "discover"),
    ],
)
@pytest.mark.parametrize("before", ["", "--detail lines --require-trace -o out "])
def test_all_behind_the_target_is_its_own(before, line, kind, name, arguments):
    options = parse((before + line).split())

    wanted = arguments.split() if isinstance(arguments, str) else arguments
    assert (options.target.kind, options.target.name, options.target.arguments) == (kind, name, wanted)
    assert options.policy == ({"detail": "lines", "require_trace": True} if before else {})


@pytest.mark.parametrize("kind", ["script.py a", "-m mod a", "-c pass a", "- a"])
def test_a_target_knows_how_plain_python_is_asked_for_it(kind):
    assert parse(kind.split()).target.words == kind.split()


def test_code_may_begin_with_anything():
    assert parse(["-c", "--help", "--help"]).target.words == ["-c", "--help", "--help"]


# --- the options --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["-o", "--out-dir", "--trace-dir"])
def test_the_directory_has_an_old_and_a_new_name(name):
    assert parsed(f"{name} out").out_dir == "out"


@pytest.mark.parametrize("name", ["--json-errors", "--codetracer-json-errors"])
def test_json_errors_have_an_old_and_a_new_name(name):
    assert parsed(name).json_errors
    assert parsed(name).policy == {"json_errors": True}


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("--format json", "format", "json"),
        ("--format=b0", "format", "b0"),
        ("--activation-path a.py", "activation_path", "a.py"),
        ("--trace-filter a.toml --trace-filter b.toml::c.toml", "filters", ["a.toml", "b.toml::c.toml"]),
        ("--only pkg.mod:f --only=file.py:g", "only", ["pkg.mod:f", "file.py:g"]),
    ],
)
def test_an_option_of_the_trace_is_taken(line, key, value):
    assert getattr(parsed(line), key) == value


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("--on-recorder-error disable", "on_recorder_error", "disable"),
        ("--require-trace", "require_trace", True),
        ("--keep-partial-trace", "keep_partial_trace", True),
        ("--log-level debug", "log_level", "debug"),
        ("--log-level=", "log_level", ""),
        ("--log-file log.json", "log_file", "log.json"),
        ("--io-capture off", "io_capture", "off"),
        ("--io-capture proxies", "io_capture", "proxies"),
        ("--capture-io proxies+fd", "io_capture", "proxies+fd"),
        ("--module-name-from-globals", "module_name_from_globals", True),
        ("--no-module-name-from-globals", "module_name_from_globals", False),
        ("--propagate-script-exit", "propagate_script_exit", True),
        ("--no-propagate-script-exit", "propagate_script_exit", False),
        ("--detail calls", "detail", "calls"),
        ("--follow none", "follow", "none"),
        ("--engine settrace", "engine", "settrace"),
    ],
)
def test_an_option_of_the_policy_is_one_that_the_policy_takes(line, key, value):
    policy.configure_policy(parsed(line).policy)

    assert parsed(line).policy == {key: value}


def test_the_last_of_two_counts():
    assert parsed("--detail calls --detail lines").policy == {"detail": "lines"}


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_and_version_need_no_target(word):
    assert parse([word]).help
    assert parse(["-V"]).version
    assert parse(["--version"]).target is None


# --- what is wrong ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "no script, module or code to run"),
        ("--detail lines", "no script, module or code to run"),
        ("--", "no script, module or code to run"),
        ("--nope x.py", "no such option: --nope"),
        ("--require x.py", "no such option: --require"),  # no abbreviations
        ("--log-lev x x.py", "no such option: --log-lev"),
        ("-x", "no such option: -x"),
        ("--detail", "option --detail needs a value"),
        ("--out-dir= x.py", "option --out-dir needs a value"),
        ("-m", "option -m needs a value"),
        ("-c", "option -c needs a value"),
        ("--require-trace=1 x.py", "option --require-trace takes no value"),
        ("--detail all x.py", "option --detail takes calls, lines, values, not 'all'"),
        ("--format xml x.py", "option --format takes binary, json, binaryv0, binary_v0, b0, not 'xml'"),
        ("--python x x.py", "no such option: --python"),  # `devtrace record` alone has it
    ],
)
def test_a_wrong_line_is_told_with_a_hint(line, message):
    assert refused(line).message == message


# --- `devtrace record` --------------------------------------------------------------------------------------


def test_the_interpreter_is_an_option_of_devtrace_record_and_not_passed_on():
    line = "--detail lines --python py --only=x --python=p2 script.py --python p3"

    options = parse(line.split(), program="devtrace record")

    assert options.python == "p2"
    assert options.passed == ["--detail", "lines", "--only=x", "script.py", "--python", "p3"]
    assert parse(options.passed).target.words == ["script.py", "--python", "p3"]


# --- the environment, the help ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "off"),
    [
        ({}, False),
        ({"DEVTRACE_RECORD": ""}, False),
        ({"DEVTRACE_RECORD": "0"}, True),
        ({"DEVTRACE_RECORD": "Off"}, True),
        ({"DEVTRACE_RECORD": "1"}, False),
        ({"DEVTRACE_RECORD": "lines"}, False),
        ({"CODETRACER_PYTHON_RECORDER_DISABLED": "1"}, True),
        ({"CODETRACER_PYTHON_RECORDER_DISABLED": "0"}, False),
    ],
)
def test_the_environment_can_switch_recording_off(environment, off):
    assert is_off(environment) is off


@pytest.mark.parametrize("program", ["python -m devtrace.recorder", "devtrace record"])
def test_every_option_is_in_the_help_and_no_line_is_wider_than_a_page(program):
    help_text = usage(program)

    told = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", help_text))
    assert {"--trace-dir", "--out-dir", "-o", "--only", "--follow", "--capture-io", "-V"} <= told
    assert ("--python" in told) == (program == "devtrace record")
    assert max(map(len, help_text.splitlines())) <= 110
    assert program in help_text.split("Example:")[1]
