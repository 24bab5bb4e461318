"""Where a probe sits: in modules that are imported, are not yet, or have changed since."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import types
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devtrace.probes.locations import Location, parse_location
from devtrace.probes.places import resolve
from tests.probes.probed import APP, World, line_of, numbers, refused, world_in


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with world_in(tmp_path, monkeypatch) as world:
        yield world


# -- lines -----------------------------------------------------------------------------------------------


def test_a_line_of_a_function_is_installed_in_its_code(world: World) -> None:
    module = world.load()
    found = world.at(line_of("z = x + y"))

    (place,) = found.places
    assert place.code is module.add.__code__
    assert (found.status, found.message, found.source_changed) == ("installed", "", False)
    assert found.resolved == [
        {"file": str(world.path), "line": line_of("z = x + y"), "qualname": "add"},
    ]
    assert (place.what, found.requested_line, found.line) == ("line", place.line, place.line)


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ('"""What the module', "is a docstring"),
        ('"""The sum."""', "is a docstring"),
        ('"""A user."""', "is a docstring"),
        ("# how it is done", "is a comment"),
        ("    else:", "nothing runs"),
        ("finally:", "nothing runs"),
        ("global LIMIT", "nothing runs"),
    ],
)
def test_a_line_in_which_nothing_runs_is_invalid_and_says_which_are_not(
    world: World, part: str, why: str
) -> None:
    world.load()
    number = line_of(part)
    error = refused(lambda: world.at(number))
    nearest: Any = error.details["nearest"]
    before, after = [0, *nearest][-2:]

    assert (error.status, error.code) == (400, "INVALID_LINE")
    assert why in error.message
    assert f"{after}" in error.message.partition("; try ")[2]
    assert before < number < after
    for one in nearest:
        assert world.at(one).line == one


def test_blank_lines_and_lines_after_the_end_are_invalid(world: World) -> None:
    world.load("x = 1\n\ny = 2\n")

    assert refused(lambda: world.at(2)).message == "line 2 is blank; try 1 or 3"
    assert refused(lambda: world.at(9)).message == "the file ends with line 3; try 3"


def test_nearest_moves_the_probe_and_keeps_what_was_asked_for(world: World) -> None:
    world.load()
    number = line_of('"""The sum."""')
    found = world.at(number, nearest=True)

    assert (found.requested_line, found.line, found.status) == (number, number + 1, "installed")


@pytest.mark.parametrize("part", ["@functools.lru_cache", "@functools.wraps", "def cached(", "    x,", "):"])
def test_the_line_of_a_def_or_its_decorator_is_the_entry_of_the_function(world: World, part: str) -> None:
    module = world.load()
    number = {"    x,": line_of("def cached(") + 1, "):": line_of("def cached(") + 2}.get(part) or line_of(
        part
    )
    found = world.at(number)

    (place,) = found.places
    assert (place.what, found.what) == ("entry", "entry")
    assert place.code is module.cached.__wrapped__.__code__


def test_a_def_of_one_line_is_its_entry_and_a_lambda_a_line_of_its_own_code(world: World) -> None:
    module = world.load()
    (make,) = world.at(line_of("def make()")).places
    (double,) = world.at(line_of("double = lambda")).places

    assert (make.code, make.what) == (module.User.make.__code__, "entry")
    assert (double.code, double.what) == (module.double.__code__, "line")


def test_lambdas_in_lists_are_found(world: World) -> None:
    module = world.load()
    found = world.at(line_of("print_all = "))

    assert {place.code for place in found.places} == {
        module.print_all[0].__code__,
        module.print_all[1][0].__code__,
    }


def test_a_statement_over_several_lines_has_one_beginning(world: World) -> None:
    module = world.load()
    first = line_of("made = call(")
    (head,) = world.at(first).places
    (comment,) = world.at(first + 2).places
    (closing,) = world.at(first + 5).places

    assert head.code is module.many.__code__
    assert head.line == comment.line == closing.line == first
    assert head.starts == comment.starts == closing.starts
    assert head.starts


def test_the_element_of_a_comprehension_sits_where_it_runs(world: World) -> None:
    module = world.load()
    (place,) = world.at(line_of("[x + 1")).places

    assert place.code is module.many.__code__  # where the list begins to be made, on every Python


def test_a_return_in_brackets_without_code_of_its_own_moves_within_the_statement(world: World) -> None:
    world.load()
    (place,) = world.at(line_of("    return (\n".strip("\n"))).places

    assert place.code.co_name == "many"


def test_nested_functions_are_placed_before_they_are_made(world: World) -> None:
    world.load()
    (place,) = world.at(line_of("with made, made:")).places
    (deepest,) = world.at("User.Meta.inner.deepest").places

    assert place.code.co_qualname == "many.<locals>.later"
    assert deepest.code.co_qualname == "User.Meta.inner.<locals>.deepest"


# -- functions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["entry", "exit", "raise"])
def test_a_function_by_its_name(world: World, what: str) -> None:
    module = world.load()
    found = resolve(parse_location(f"{world.name}:User.name@{what}"))

    (place,) = found.places
    assert place.code is module.User.__dict__["name"].fget.__code__
    assert place.what == what
    assert found.line == line_of("    @property")


def test_a_function_that_is_not_there_is_told_with_those_of_its_name(world: World) -> None:
    world.load()
    error = refused(lambda: world.at("deepest"))

    assert (error.status, error.code) == (404, "FUNCTION_NOT_FOUND")
    assert error.details["candidates"] == ["User.Meta.inner.deepest"]
    assert "User.Meta.inner.deepest" in error.message


def test_a_function_that_is_defined_twice_is_placed_in_both(world: World) -> None:
    world.load(
        "def make(n):\n"
        "    if n:\n"
        "        def f(): return 1\n"
        "    else:\n"
        "        def f(): return 2\n"
        "    return f\n"
    )
    found = world.at("make.f")

    assert sorted(place.code.co_firstlineno for place in found.places) == [3, 5]


# -- files -----------------------------------------------------------------------------------------------


def test_a_file_is_found_by_its_path_its_end_its_module_and_a_link_to_it(
    world: World, tmp_path: Path
) -> None:
    module = world.load(APP, "pkg_a/sub/handling")
    (tmp_path / "linked.py").symlink_to(tmp_path / "pkg_a" / "sub" / "handling.py")
    (tmp_path / "folder").symlink_to(tmp_path / "pkg_a")
    number = line_of("z = x + y")
    for where in (
        tmp_path / "pkg_a" / "sub" / "handling.py",
        "pkg_a/sub/handling.py",
        "sub/handling.py",
        "handling.py",
        r"sub\handling.py",
        "./pkg_a/../pkg_a/sub/handling.py",
        "linked.py",
        "folder/sub/handling.py",
        "pkg_a.sub.handling",
    ):
        (place,) = resolve(parse_location(f"{where}:{number}")).places
        assert place.code is module.add.__code__


def test_a_path_of_another_machine_is_mapped(world: World, tmp_path: Path) -> None:
    world.load()
    location = Location(file=f"C:\\app\\{world.name}.py", line=line_of("z = x + y"))

    assert resolve(location, maps=[("C:\\app", str(tmp_path))]).status == "installed"
    assert refused(lambda: resolve(location)).code == "FILE_NOT_FOUND"


def test_the_end_of_two_paths_is_ambiguous_and_lists_both(world: World, tmp_path: Path) -> None:
    world.load(APP, "pkg_b/one/two_of_a_name")
    world.load(APP, "pkg_b/two/two_of_a_name")
    error = refused(lambda: resolve(parse_location("two_of_a_name.py:9")))

    assert (error.status, error.code) == (409, "AMBIGUOUS_FILE")
    expected = [str(tmp_path / "pkg_b" / name / "two_of_a_name.py") for name in ("one", "two")]
    assert error.details["candidates"] == expected
    assert resolve(parse_location("two/two_of_a_name.py:9")).file == expected[1]


def test_two_files_that_are_not_imported_are_ambiguous_too(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        world.write(APP, f"{name}/late_{world.name}")
        monkeypatch.syspath_prepend(str(tmp_path / name))

    assert refused(lambda: resolve(parse_location(f"late_{world.name}.py:9"))).code == "AMBIGUOUS_FILE"


def test_a_bare_init_is_refused(world: World) -> None:
    world.load("x = 1\n", "pkg_c/__init__")

    assert refused(lambda: resolve(parse_location("__init__.py:1"))).code == "AMBIGUOUS_FILE"
    assert resolve(parse_location("pkg_c/__init__.py:1")).file.endswith("pkg_c/__init__.py")


def test_a_file_that_is_nowhere_and_a_module_that_is_nowhere(world: World) -> None:
    for text in ("no/such.py:1", "no.such:1", "/no/such.py:f", "no.such:f"):
        error = refused(lambda text=text: resolve(parse_location(text)))  # type: ignore[misc]
        assert (error.status, error.code) == (404, "FILE_NOT_FOUND")


def test_a_file_of_any_name(world: World, tmp_path: Path) -> None:
    for name in ("a&b.py", "ನನ್ನ_ಸ್ಕ್ರಿಪ್ಟ್.py", "with space.py"):
        (tmp_path / name).write_text("def f():\n    return 1\n")
        space: dict[str, Any] = {}
        exec(compile("def f():\n    return 1\n", str(tmp_path / name), "exec"), space)
        world_module = types.ModuleType(f"probed_{next(numbers)}")
        world_module.f = space["f"]  # type: ignore[attr-defined]
        sys.modules[world_module.__name__] = world_module
        (place,) = resolve(parse_location(f"{name}:2")).places
        assert place.code is space["f"].__code__


def test_code_without_a_text_is_placed_by_what_is_alive_of_it(world: World) -> None:
    source = "def f(x):\n    y = x\n\n    return y\n"
    module = types.ModuleType(f"probed_{next(numbers)}")
    exec(compile(source, "/nowhere/made up.py", "exec"), module.__dict__)
    sys.modules[module.__name__] = module
    (line,) = resolve(Location(file="/nowhere/made up.py", line=2)).places
    (entry,) = resolve(Location(file="made up.py", line=1)).places
    (named,) = resolve(Location(file="made up.py", function="f", what="exit")).places
    error = refused(lambda: resolve(Location(file="/nowhere/made up.py", line=3)))

    assert {line.code, entry.code, named.code} == {module.f.__code__}
    assert (line.what, entry.what, named.what) == ("line", "entry", "exit")
    assert error.details["nearest"] == [2, 4]
    assert resolve(Location(file="made up.py", line=3), nearest=True).line == 4
    assert refused(lambda: resolve(Location(file="made up.py", function="g"))).code == "FUNCTION_NOT_FOUND"


# -- what is not there yet, and what has changed ---------------------------------------------------------


def test_a_file_that_is_not_imported_waits_and_is_placed_when_its_code_is_found(world: World) -> None:
    world.write(APP)
    found = world.at(line_of("z = x + y"))
    assert (found.status, found.message, found.places) == ("pending", "the file is not imported yet", [])
    module = importlib.import_module(world.name)

    assert found.place_in(resolve.__code__) == []
    (place,) = found.place_in(module.add.__code__)
    assert found.place_in(module.add.__code__) == []
    assert place.code is module.add.__code__
    assert (found.status, found.message) == ("installed", "")


def test_the_code_of_a_module_places_all_functions_within_it_before_it_runs(world: World) -> None:
    path = world.write(APP)
    found = world.at(line_of("return 1"))
    code = compile(APP, str(path), "exec")

    assert [place.code.co_name for place in found.place_in(code)] == ["deepest"]


def test_a_line_of_the_module_itself_waits_for_a_reload_once_it_has_run(world: World) -> None:
    world.load()
    found = world.at(line_of("LIMIT = 3"))

    assert found.status == "pending"
    assert "runs again" in found.message or "run again" in found.message
    code = compile(APP, str(world.path), "exec")
    assert [place.code for place in found.place_in(code)] == [code]


def test_a_line_of_a_class_is_placed_in_its_body_and_the_class_line_outside(world: World) -> None:
    world.write(APP)
    code = compile(APP, str(world.path), "exec")
    (kind,) = world.at(line_of('kind = "user"')).place_in(code)
    (user,) = world.at(line_of("class User")).place_in(code)

    assert (kind.code.co_qualname, user.code.co_qualname) == ("User", "<module>")


def test_a_file_that_was_edited_since_it_was_imported_is_flagged(world: World) -> None:
    world.load()
    number = line_of("z = x + y")
    stat = os.stat(world.path)
    for text, is_changed in (
        (APP.replace("x + y", "x - y"), True),
        ("# one more\n" + APP, True),
        (APP.replace("x + y", "x+y") + "# a comment\n", None),
        (APP, False),
        (APP + "\ndef more(): pass\n", False),
    ):
        world.write(text)
        os.utime(world.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # the time of change proves nothing
        changed = world.at(number + text.startswith("# one")).source_changed
        assert changed is is_changed or is_changed is None


def test_what_an_import_hook_rewrote_is_compared_by_its_lines() -> None:
    """pytest rewrites the asserts of this very file."""
    line = test_what_an_import_hook_rewrote_is_compared_by_its_lines.__code__.co_firstlineno
    found = resolve(Location(file=__file__, line=line + 2))

    assert (found.status, found.source_changed) == ("installed", False)


def test_a_text_that_is_no_python_any_more_leaves_what_is_alive(world: World) -> None:
    world.load()
    world.write("def (:\n")
    found = world.at(line_of("z = x + y"))

    assert (found.status, found.source_changed) == ("installed", None)


def test_the_probes_of_one_file_share_what_is_known_of_its_text(world: World) -> None:
    world.load()
    one, other = world.at(line_of("z = x + y")), world.at("User.name")
    source = one._file.source
    assert source is not None
    assert other._file.source is source
    world.write(APP + "\n")
    assert world.at("User.name")._file.source is not source
    gone = weakref.ref(source)
    del one, other, source
    gc.collect()

    assert gone() is None


def test_reading_a_text_warns_nobody_and_leaves_the_filters_as_they_were(world: World) -> None:
    world.write("x = '\\d'\ny = 1 is 1\n")
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        there = list(warnings.filters)
        assert world.at(1).status == "pending"
        assert list(warnings.filters) == there

    assert caught == []
    assert list(warnings.filters) == before
