"""The files of trace filters: every key, what is refused and in which words, where they are found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devtrace.recorder import filter_files as files

META = '[meta]\nname = "shop"\nversion = 1\n'
RULE = META + '[[scope.rules]]\nselector = "pkg:shop"\n'
PATTERN = RULE + '[[scope.rules.value_patterns]]\nselector = "local:price"\naction = "redact"\n'

EVERYTHING = """
[meta]
name = "shop"
version = 3
description = "What support may see."
labels = ["support", "shop"]

[io]
capture = true
streams = ["stdout", "stderr", "stdin", "files"]
modes = []

[scope]
default_exec = "skip"
default_value_action = "drop"

[[scope.rules]]
selector = "pkg:shop.*"
exec = "trace"
value_default = "deny"
reason = "It is the shop."

[[scope.rules.value_patterns]]
selector = "arg:literal:price"
action = "allow"
reason = "Prices are printed anyway."

[[scope.rules.value_patterns]]
selector = "ret:regex:total$"
action = "deny"

[[scope.rules]]
selector = "file:tests/**"
exec = "inherit"
value_default = "inherit"
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str | bytes, name: str = "filter.toml") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    return write


def test_every_documented_key_is_read(write) -> None:
    file = files.read(write(EVERYTHING))

    assert (file.name, file.version) == ("shop", 3)
    assert file.io == {"capture": True, "streams": ["stdout", "stderr", "stdin", "files"]}
    assert (file.default_exec, file.default_value_action) == (False, "drop")
    shop, tests = file.rules
    assert (shop.selector.text, shop.execs, shop.value_default) == ("pkg:shop.*", True, "redact")
    assert shop.reason == "It is the shop."
    assert [(one.selector.text, one.action, one.reason) for one in shop.patterns] == [
        ("arg:literal:price", "allow", "Prices are printed anyway."),
        ("ret:regex:total$", "redact", "ret:regex:total$"),
    ]
    assert (tests.execs, tests.value_default, tests.patterns, tests.reason) == (
        None,
        None,
        (),
        "file:tests/**",
    )


def test_a_filter_needs_no_more_than_a_name_and_a_version(write) -> None:
    file = files.read(write(META))

    assert (file.default_exec, file.default_value_action, file.rules, file.io) == (None, None, [], {})


@pytest.mark.parametrize(("word", "meaning"), [("trace", True), ("skip", False), ("inherit", None)])
def test_every_word_for_exec_is_known(write, word: str, meaning: bool | None) -> None:
    file = files.read(write(f'{META}[scope]\ndefault_exec = "{word}"\n'))

    assert file.default_exec is meaning
    (rule,) = files.read(write(f'{RULE}exec = "{word}"\n')).rules
    assert rule.execs is meaning


@pytest.mark.parametrize(
    ("word", "meaning"),
    [("allow", "allow"), ("redact", "redact"), ("deny", "redact"), ("drop", "drop"), ("inherit", None)],
)
def test_every_word_for_values_is_known(write, word: str, meaning: str | None) -> None:
    file = files.read(write(f'{META}[scope]\ndefault_value_action = "{word}"\n'))

    assert file.default_value_action == meaning
    (rule,) = files.read(write(f'{RULE}value_default = "{word}"\n')).rules
    assert rule.value_default == meaning


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("colour = 1\n" + META, "colour: there is no such field: known are meta, io, scope"),
        (META + "colour = 1\n", "meta.colour: there is no such field: known are name, version, description"),
        (META + "[io]\ncolour = 1\n", "io.colour: there is no such field: known are capture, streams, modes"),
        (META + "[scope]\ncolour = 1\n", "scope.colour: there is no such field: known are default_exec"),
        (RULE + "colour = 1\n", "scope.rules 1, colour: there is no such field: known are selector, exec"),
        (
            PATTERN + "colour = 1\n",
            "scope.rules 1, value_patterns 1, colour: there is no such field: known are selector, action",
        ),
        ("", "meta: is missing"),
        ("meta = 1\n", "meta: it must be a table"),
        ("[meta]\nversion = 1\n", "meta.name: it must be there"),
        ('[meta]\nname = " "\nversion = 1\n', "meta.name: it must be there, and not be empty"),
        ("[meta]\nname = 1\nversion = 1\n", "meta.name: it must be a text, not 1"),
        ('[meta]\nname = "a"\n', "meta.version: it must be there, a whole number from 1"),
        ('[meta]\nname = "a"\nversion = 0\n', "meta.version: it must be there"),
        ('[meta]\nname = "a"\nversion = true\n', "meta.version: it must be there"),
        ('[meta]\nname = "a"\nversion = "1"\n', "meta.version: it must be there"),
        (META + "description = 1\n", "meta.description: it must be a text"),
        (META + 'labels = "a"\n', "meta.labels: it must be a list of texts"),
        (META + "labels = [1]\n", "meta.labels: it must be a list of texts"),
        (META + "[io]\ncapture = 1\n", "io.capture: it must be true or false"),
        (META + "[io]\ncapture = true\n", "io.streams: it must name a stream where capture is true"),
        (
            META + '[io]\nstreams = ["stdlog"]\n',
            "io.streams: 'stdlog' is none of stdout, stderr, stdin, files",
        ),
        (META + '[io]\nmodes = ["all"]\n', "io.modes: it is reserved"),
        (META + '[scope]\ndefault_exec = "on"\n', "scope.default_exec: 'on' is none of trace, skip, inherit"),
        (META + "[scope]\ndefault_exec = []\n", "scope.default_exec: [] is none of"),
        (
            META + '[scope]\ndefault_value_action = "hide"\n',
            "scope.default_value_action: 'hide' is none of allow",
        ),
        (META + '[scope]\nrules = "a"\n', "scope.rules: they must be tables"),
        (META + "[[scope.rules]]\n", "scope.rules 1, selector: it is missing"),
        (META + "[[scope.rules]]\nselector = 1\n", "scope.rules 1, selector: it must be a text"),
        (RULE + '[[scope.rules]]\nselector = "pakg:a"\n', "scope.rules 2, selector: no kind 'pakg' here"),
        (META + '[[scope.rules]]\nselector = "local:a"\n', "scope.rules 1, selector: no kind 'local' here"),
        (META + '[[scope.rules]]\nselector = "pkg:regex:("\n', "scope.rules 1, selector: '(' is no regex"),
        (RULE + 'exec = "yes"\n', "scope.rules 1, exec: 'yes' is none of"),
        (RULE + "reason = 1\n", "scope.rules 1, reason: it must be a text"),
        (
            RULE + '[[scope.rules.value_patterns]]\nselector = "local:a"\n',
            "scope.rules 1, value_patterns 1, action: it is missing",
        ),
        (
            RULE + '[[scope.rules.value_patterns]]\naction = "allow"\n',
            "scope.rules 1, value_patterns 1, selector: it is missing",
        ),
        (
            PATTERN + '[[scope.rules.value_patterns]]\nselector = "pkg:a"\naction = "allow"\n',
            "scope.rules 1, value_patterns 2, selector: no kind 'pkg' here: use local, global, arg",
        ),
        (
            RULE + '[[scope.rules.value_patterns]]\nselector = "local:a"\naction = "inherit"\n',
            "scope.rules 1, value_patterns 1, action: 'inherit' is none of allow, redact, deny, drop",
        ),
        ("[meta\n", "it is no valid TOML: "),
        (b"\xff\xfe", "it is no valid TOML: "),
    ],
)
def test_what_does_not_fit_is_named_by_file_field_and_reason(
    write, text: str | bytes, complaint: str
) -> None:
    path = write(text)

    with pytest.raises(ValueError, match=r".") as refused:
        files.read(path)

    assert str(refused.value).startswith(f"{path}: {complaint}")


def test_a_filter_that_is_missing_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no trace filter .*missing\.toml"):
        files.read(f"{tmp_path}/missing.toml")


def test_a_directory_is_no_filter(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a trace filter is a file, and this is a directory"):
        files.read(str(tmp_path))


def test_a_file_without_an_end_is_no_filter(write) -> None:
    with pytest.raises(ValueError, match="larger than 1 MiB"):
        files.read(write("#" * ((1 << 20) + 1)))


def test_a_file_that_may_not_be_read_is_named(write) -> None:
    path = write(META)
    os.chmod(path, 0)
    if os.access(path, os.R_OK):
        pytest.skip("because this user may read everything")

    with pytest.raises(ValueError, match="it cannot be read: Permission denied"):
        files.read(path)


@pytest.mark.parametrize(
    ("specs", "paths"),
    [
        (None, []),
        ("a.toml", ["/here/a.toml"]),
        ("a.toml::b.toml", ["/here/a.toml", "/here/b.toml"]),
        (" a.toml :: :: /b.toml ", ["/here/a.toml", "/b.toml"]),
        ("../a.toml", ["/a.toml"]),
        (Path("a.toml"), ["/here/a.toml"]),
        (Path("a::b.toml"), ["/here/a::b.toml"]),
        (
            ["c.toml", Path("a.toml"), "b.toml::a.toml"],
            ["/here/c.toml", "/here/a.toml", "/here/b.toml", "/here/a.toml"],
        ),
        (("a.toml",), ["/here/a.toml"]),
        ([], []),
    ],
)
def test_filters_are_named_by_texts_and_paths_and_keep_their_order(specs: object, paths: list[str]) -> None:
    assert files.paths_of(specs, "/here") == paths


def test_a_filter_may_lie_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ana")

    assert files.paths_of("~/a.toml", "/here") == ["/home/ana/a.toml"]


@pytest.mark.parametrize("specs", ["", " ", "::", [""], ["a.toml", "::"]])
def test_a_path_in_which_nothing_stands_is_refused(specs: object) -> None:
    with pytest.raises(ValueError, match="its path is empty"):
        files.paths_of(specs, "/here")


@pytest.mark.parametrize(
    "specs", [1, b"a.toml", [1], [None], [b"a.toml"], {"a.toml"}, {"a": 1}, [["a.toml"]], object()]
)
def test_what_cannot_be_a_path_is_refused(specs: object) -> None:
    with pytest.raises(TypeError, match="a trace filter is a text, a path or a sequence of them, not "):
        files.paths_of(specs, "/here")


def test_the_environment_names_filters_and_our_name_wins() -> None:
    both = {"DEVTRACE_TRACE_FILTER": "a.toml::b.toml", "CODETRACER_TRACE_FILTER": "c.toml"}

    assert files.from_environment(both, "/here") == ["/here/a.toml", "/here/b.toml"]
    assert files.from_environment({**both, "DEVTRACE_TRACE_FILTER": ""}, "/here") == ["/here/c.toml"]
    assert files.from_environment({}, "/here") == []


def test_a_child_gets_the_same_filters_wherever_it_runs() -> None:
    theirs = {"CODETRACER_TRACE_FILTER": "a.toml"}

    spec = files.for_children(["b.toml"], theirs, "/here")

    assert spec == "/here/a.toml::/here/b.toml"
    assert files.from_environment({**theirs, "DEVTRACE_TRACE_FILTER": spec}, "/elsewhere") == spec.split("::")
    assert files.for_children(None, {}, "/here") == ""


def test_the_nearest_project_filter_is_found(write, tmp_path: Path) -> None:
    far = write(META, ".devtrace/trace-filter.toml")
    (tmp_path / "a" / "b").mkdir(parents=True)

    assert files.of_the_project(f"{tmp_path}/a/b") == far
    near = write(META, "a/.codetracer/trace-filter.toml")
    assert files.of_the_project(f"{tmp_path}/a/b") == near
    assert files.of_the_project(str(tmp_path)) == far


def test_of_two_in_one_folder_ours_is_taken(write, tmp_path: Path) -> None:
    write(META, ".codetracer/trace-filter.toml")
    ours = write(META, ".devtrace/trace-filter.toml")

    assert files.of_the_project(str(tmp_path)) == ours


def test_a_folder_of_that_name_is_no_filter(tmp_path: Path) -> None:
    (tmp_path / ".devtrace" / "trace-filter.toml").mkdir(parents=True)
    found = files.of_the_project(str(tmp_path))

    assert found is None or not found.startswith(str(tmp_path))


def test_a_filter_that_somebody_else_put_above_is_not_heard(write, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("because only root can give files away")
    theirs = write(META, ".devtrace/trace-filter.toml")
    (tmp_path / "mine").mkdir()
    os.chown(theirs, 12345, -1)
    heard = files.of_the_project(f"{tmp_path}/mine")

    assert heard != theirs
    os.chown(f"{tmp_path}/mine", 12345, -1)  # now it is their program that we run
    assert files.of_the_project(f"{tmp_path}/mine") == theirs


def test_the_root_of_a_project_is_where_its_store_or_its_git_is(tmp_path: Path) -> None:
    (tmp_path / "shop" / "src").mkdir(parents=True)
    (tmp_path / "shop" / ".git").mkdir()

    assert files.project_root(f"{tmp_path}/shop/src") == f"{tmp_path}/shop"


def test_file_selectors_start_at_the_folder_of_their_filter(write, tmp_path: Path) -> None:
    assert files.read(write(META, ".codetracer/trace-filter.toml")).root == str(tmp_path)
    assert files.read(write(META, "filters/support.toml")).root == f"{tmp_path}/filters"


def test_toml_is_parsed_only_where_there_is_a_file(tmp_path: Path) -> None:
    program = (
        "import sys; from devtrace.recorder import filters; before = 'tomllib' in sys.modules;"
        "filters.load(environ={}, folder=sys.argv[1]); print(before, 'tomllib' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )

    assert done.stdout.split() == ["False", "False"]
