"""Places as people write them, and paths of other machines."""

from __future__ import annotations

import pytest

from devtrace.probes.locations import BadLocation, mapped, parse_location


@pytest.mark.parametrize(
    ("text", "file", "module", "line", "function", "what"),
    [
        ("app/handlers.py:42", "app/handlers.py", "", 42, "", "line"),
        ("/srv/a&b/x.py:1", "/srv/a&b/x.py", "", 1, "", "line"),
        ("ನನ್ನ_ಸ್ಕ್ರಿಪ್ಟ್.py:7", "ನನ್ನ_ಸ್ಕ್ರಿಪ್ಟ್.py", "", 7, "", "line"),
        (r"C:\app\x.py:12", r"C:\app\x.py", "", 12, "", "line"),
        ("x.py:3", "x.py", "", 3, "", "line"),
        ("pkg.mod:3", "", "pkg.mod", 3, "", "line"),
        ("mod:3", "", "mod", 3, "", "line"),
        ("pkg.mod:load", "", "pkg.mod", 0, "load", "entry"),
        ("pkg.mod:User.save@exit", "", "pkg.mod", 0, "User.save", "exit"),
        ("app/x.py:f.<locals>.g@raise", "app/x.py", "", 0, "f.<locals>.g", "raise"),
        (" pkg.mod:load@entry ", "", "pkg.mod", 0, "load", "entry"),
    ],
)
def test_a_place_is_read_as_it_is_said(
    text: str, file: str, module: str, line: int, function: str, what: str
) -> None:
    one = parse_location(text)

    assert (one.file, one.module, one.line, one.function, one.what) == (file, module, line, function, what)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x.py",
        "x.py:",
        ":3",
        "x.py:0",
        "x.py:-1",
        "x.py:٣",
        "x.py:99999999999",
        "m:f@leave",
        "m:f()",
        "m:1@exit",
    ],
)
def test_what_is_no_place_is_told_in_words(text: str) -> None:
    with pytest.raises(BadLocation, match=r"such as|counted from 1|@entry"):
        parse_location(text)


def test_a_place_is_written_as_it_was_said() -> None:
    for text in ("app/x.py:3", "pkg.mod:load", "pkg.mod:load@exit"):
        assert str(parse_location(text)) == text


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("/home/ana/app/x.py", "/srv/x.py"),
        ("/home/ana/application/x.py", "/home/ana/application/x.py"),
        (r"C:\work\x.py", "/srv/work/x.py"),
        (r"other\x.py", "other/x.py"),
        ("/home/ana/app", "/srv"),
    ],
)
def test_paths_are_mapped_by_whole_folders_and_windows_separators_are_ours(path: str, to: str) -> None:
    assert mapped(path, [("/home/ana/app", "/srv/"), ("C:\\work\\", "/srv/work")]) == to
