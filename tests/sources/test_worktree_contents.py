"""What stands in a blob is what git would put there: line ends, `ident`, encodings, filters.

Not here: which paths count, and kinds of repositories (test_worktree.py).
"""

from __future__ import annotations

import os
import sys

import pytest

from tests.working_trees import Watched

CONTENTS = {
    "empty": b"",
    "lf": b"a\nb\n",
    "crlf": b"a\r\nb\r\n",
    "mixed": b"a\r\nb\nc\r\n",
    "cr": b"a\rb\r",
    "lone": b"a\r\nb\rc\r\n",
    "nul": b"a\r\n\0b\r\n",
    "binary": bytes(range(256)) * 4,
    "latin": "é\r\nü\r\n".encode("latin-1"),
    "bom": b"\xef\xbb\xbfa\r\nb\r\n",
    "no-end": b"a\r\nb",
    "control": b"\x01\x02\x03\x04\r\n",
    "eof": b"a\r\nb\r\n\x1a",
    "long": b"line of text\r\n" * 5000,
}

SETTINGS = [
    ("", ""),
    ("true", ""),
    ("input", ""),
    ("", "* text=auto\n"),
    ("true", "* text=auto\n"),
    ("", "*.txt text eol=crlf\n"),
    ("", "*.txt text eol=lf\n"),
    ("", "*.txt text\n"),
    ("true", "*.txt -text\n"),
    ("input", "*.txt binary\n"),
    ("", "*.txt text=auto eol=crlf\n"),
    ("", "*.txt crlf\n"),
    ("", "*.txt eol=lf\n"),
]


@pytest.fixture
def place(tmp_path):
    return Watched(tmp_path / "repo")


@pytest.mark.parametrize(("autocrlf", "attributes"), SETTINGS)
@pytest.mark.parametrize("in_the_index", ["nothing", "as it is", "line ends turned"])
def test_line_ends_are_git_s(place, autocrlf, attributes, in_the_index):
    if in_the_index != "nothing":
        for name, content in CONTENTS.items():
            turned = (
                content.replace(b"\r\n", b"\n") if b"\r\n" in content else content.replace(b"\n", b"\r\n")
            )
            place.write(f"a/{name}.txt", content if in_the_index == "as it is" else turned)
        place.commit()
    if autocrlf:
        place.git("config", "core.autocrlf", autocrlf)
    place.write(".gitattributes", attributes)
    for name, content in CONTENTS.items():
        place.write(
            f"a/{name}.txt", content + b"more\r\n" if in_the_index != "nothing" and content else content
        )

    place.assert_equal()


def test_a_setting_that_changes_is_heard_at_once(place):
    place.write("f.txt", "a\r\n")
    place.assert_equal()
    place.git("config", "core.autocrlf", "input")
    place.write("f.txt", "b\r\n")
    place.assert_equal()
    place.write(".gitattributes", "*.txt -text\n")
    place.write("f.txt", "c\r\n")
    place.assert_equal()


def test_core_safecrlf_costs_no_content(place):
    place.write("f.txt", "a\r\nb\n")
    place.write(".gitattributes", "* text=auto\n")
    truth = place.truth()
    place.git("config", "core.safecrlf", "true")

    assert place.checkpoint() == truth


@pytest.mark.parametrize(
    "text", ["$Id$\n", "$Id: old $ and $Id: two $\n", "$Id: a\nb $\n", "no\n", "$Id: x $\r\n", "$Id:$ $Id\n"]
)
def test_ident_is_taken_out(place, text):
    place.write(".gitattributes", "*.txt ident text=auto\n")
    place.write("f.txt", text)

    place.assert_equal()


def test_an_encoding_of_the_working_tree_becomes_utf_8(place):
    place.write(".gitattributes", "*.txt working-tree-encoding=UTF-16 text eol=crlf\n")
    place.write("f.txt", "Grüße\r\n".encode("utf-16"))

    place.assert_equal()
    assert place.kept("f.txt") == "Grüße\n".encode()
    entry = place.entry("f.txt")
    assert entry is not None
    assert place.points.tree.checked_out(b"f.txt", "Grüße\n".encode()).decode("utf-16") == "Grüße\r\n"


def test_what_has_not_the_encoding_it_should_have_stops_nothing(place):
    # `git add` refuses the file: "failed to encode".
    place.write(".gitattributes", "*.txt working-tree-encoding=UTF-16\n")
    place.write("f.txt", b"\xff\xfeodd")
    place.write("g", "1\n")

    place.checkpoint()
    assert place.kept("g") == b"1\n"


def test_a_clean_filter_makes_the_content(place):
    place.git("config", "filter.upper.clean", "sed s/secretly/openly/")
    place.git("config", "filter.upper.smudge", "sed s/openly/secretly/")
    place.write(".gitattributes", "*.txt filter=upper\n")
    place.write("a/f.txt", "secretly\r\n")
    place.write("a/name with ' quote.txt", "secretly\n")

    place.assert_equal()
    assert place.kept("a/f.txt") == b"openly\r\n"
    assert place.points.tree.checked_out(b"a/f.txt", b"openly\r\n") == b"secretly\r\n"


def test_a_filter_that_writes_pointers_keeps_large_files_out(place):
    script = "import sys, hashlib; print('oid', hashlib.sha256(sys.stdin.buffer.read()).hexdigest())"
    pointer = f'{sys.executable} -c "{script}"'
    place.git("config", "filter.lfs.clean", pointer)
    place.git("config", "filter.lfs.smudge", "cat")
    place.git("config", "filter.lfs.required", "true")
    place.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
    place.write("f.bin", os.urandom(100_000))

    place.assert_equal()
    kept = place.kept("f.bin")
    assert kept is not None
    assert kept.startswith(b"oid ")


PROCESS = r"""
import sys
def read():
    found = []
    while (head := sys.stdin.buffer.read(4)) and (n := int(head, 16)):
        found.append(sys.stdin.buffer.read(n - 4))
    return found
def write(*lines):
    for line in lines:
        sys.stdout.buffer.write(b"%04x" % (len(line) + 4) + line)
    sys.stdout.buffer.write(b"0000")
    sys.stdout.buffer.flush()
read(); write(b"git-filter-server\n", b"version=2\n")
read(); write(b"capability=clean\n")
while True:
    if not read():
        break
    content = b"".join(read())
    write(b"status=success\n")
    write(content.upper())
    write()
"""


def test_a_process_filter_makes_the_content(place):
    script = place.root.parent / "filter.py"
    script.write_text(PROCESS)
    place.git("config", "filter.p.process", f"{sys.executable} {script}")
    place.write(".gitattributes", "*.txt filter=p\n")
    place.write("f.txt", "quiet\n")

    place.assert_equal()
    assert place.kept("f.txt") == b"QUIET\n"


def test_a_filter_that_nobody_defined_changes_nothing(place):
    place.write(".gitattributes", "* filter=lfs\n")
    place.write("f", "a\r\n\0")

    place.assert_equal()


def test_a_filter_that_fails_and_need_not_work_is_left_out(place):
    place.git("config", "filter.p.clean", "false")
    place.write(".gitattributes", "f filter=p\n")
    place.write("f", "a\n")

    place.assert_equal()


def test_a_required_filter_that_fails_stops_nothing(place):
    # `git add -A` fails altogether; what was known of the file stays.
    place.write("f", "before\n")
    place.write("g", "1\n")
    place.checkpoint()
    place.git("config", "filter.p.clean", "false")
    place.git("config", "filter.p.required", "true")
    place.write(".gitattributes", "f filter=p\n")
    place.write("f", "after\n")
    place.write("g", "2\n")

    place.checkpoint()

    assert place.kept("f") == b"before\n"
    assert place.kept("g") == b"2\n"


def test_attributes_of_the_repository_s_own_count(place):
    (place.root / ".git/info/attributes").write_text("*.md text\n")
    place.write("f.md", "a\r\n")

    place.assert_equal()


@pytest.mark.parametrize("content", [b"", b"\0", b"\0" * 70_000, os.urandom(500_000)])
def test_any_bytes_are_kept_as_they_are(place, content):
    place.write("f", content)

    place.assert_equal()
    assert place.kept("f") == content
