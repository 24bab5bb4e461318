"""A diff: the patch is git's own, byte for byte; what a terminal gets is harmless and whole."""

from __future__ import annotations

import random
import re
import subprocess

import pygit2
import pytest

from devtrace.errors import EnvironmentError
from devtrace.query.diff import NetFile
from devtrace.store.checkpoints.tree import Entry
from devtrace.views.diff import Shown, lines, mention, record, remarks, stat_lines
from devtrace.views.patch import patches_of, quoted

PLAIN, EXECUTABLE, LINK, REPOSITORY = 0o100644, 0o100755, 0o120000, 0o160000
WORDS = ("def one():", "    return 1", "", "class Two:", "\tindented", "x = 'ä'", "same", "    pass")


class Objects:
    """Contents by their ids."""

    def __init__(self):
        self.known = {}

    def keep(self, data, mode=PLAIN):
        oid = str(pygit2.hash(data))
        self.known[oid] = data
        return Entry(mode, oid)

    def read(self, oid):
        if oid not in self.known:
            raise EnvironmentError("it is gone", code="ERR_STORE_DAMAGED")
        return self.known[oid]


@pytest.fixture
def objects():
    return Objects()


@pytest.fixture
def shown(objects):
    """`shown(old, new, path=..., old_path=...)`: entries or contents, None for what is not there."""

    def show(old, new, path=b"api.py", old_path=None, withheld=None, **more):
        sides = [objects.keep(side) if isinstance(side, bytes) else side for side in (old, new)]
        file = NetFile(path, old_path, *sides, **more)
        return Shown(file, patches_of(file, objects.read), withheld)

    return show


def data(one):
    return b"".join(patch.data for patch in one.patches)


def test_a_changed_file(shown):
    assert data(shown(b"one\ntwo\n", b"one\nthree\n")) == (
        b"diff --git a/api.py b/api.py\n"
        b"index 814f4a4..4c7442b 100644\n"
        b"--- a/api.py\n"
        b"+++ b/api.py\n"
        b"@@ -1,2 +1,2 @@\n"
        b" one\n"
        b"-two\n"
        b"+three\n"
    )


def test_a_content_that_is_no_longer_kept_leaves_the_header(shown, painted):
    one = shown(Entry(PLAIN, "1" * 40), b"new\n")

    assert data(one) == b"diff --git a/api.py b/api.py\nindex 1111111..3e75765 100644\n"
    assert "(the content of api.py is no longer kept)" in painted(list(lines([one])))
    assert (record(one)["kept"], record(one)["added"]) == (False, None)


def test_what_is_withheld_is_said_between_the_header_and_the_hunks(shown, painted):
    one = shown(None, b"[withheld]\n", path=b".env", withheld="path")

    told = painted(list(lines([one]))).splitlines()

    assert told[3] == "(the content of .env is withheld: path rule)"
    assert told[4] == "--- /dev/null"


def test_a_file_that_is_no_longer_tracked_has_no_patch(shown, painted):
    one = shown(b"x\n", None, is_ignored=True)

    assert data(one) == b""
    assert "no longer tracked" in painted(list(lines([one])))
    assert record(one)["change"] == "ignored"


def test_what_others_changed_in_between_is_named(shown):
    assert remarks(shown(b"1", b"2", is_mixed=True, others=("a" * 32 + "/3f2a000000000000",))) == [
        "api.py was also changed by 3f2a000000 in between: that is in here too"
    ]
    assert "by whom is not known" in remarks(shown(b"1", b"2", is_mixed=True))[0]


def test_no_escape_sequence_reaches_the_terminal(shown, painted):
    nasty = "\x1b]0;title\x07\u202e\tx\r".encode()
    text = painted(list(lines([shown(b"", nasty + b"\n", path=b"\x1b[2J")])), 100)

    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\t" in text


def test_added_and_deleted_lines_have_their_colours(shown, painted):
    text = painted(list(lines([shown(b"-- a\n", b"++ b\n")])), colours=True)

    assert "\x1b[31m--- a" in text
    assert "\x1b[32m+++ b" in text
    assert "\x1b[1m--- a/api.py" in text
    assert "\x1b[36m@@" in text


def test_names_are_quoted_as_git_does():
    assert quoted(b"a/plain name") == b"a/plain name"
    assert quoted('a/ä\t"\\\x1b'.encode()) == b'"a/\\303\\244\\t\\"\\\\\\033"'


def test_a_record_holds_true_bytes_where_they_are_no_utf8(shown):
    made = record(shown(b"a\n", b"\xff\n", path=b"\xfe.txt"))

    assert (made["path"], made["path_b64"]) == ("\ufffd.txt", "/i50eHQ=")
    assert made["patch_b64"]
    assert (made["added"], made["deleted"]) == (1, 1)


def test_changes_that_may_belong_are_counted_and_named():
    assert mention(["3f2a"], "command") == "1 more change may be of this command: devtrace show 3f2a"
    assert mention(list("abcde"), "session").endswith(
        "5 more changes may be of this session: devtrace show a, b, c, ..."
    )


# --- against git itself -------------------------------------------------------------------------------------


@pytest.fixture
def git(tmp_path):
    def run(*arguments, stdin=b""):
        return subprocess.run(
            ["git", "-c", "core.abbrev=7", *arguments],
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            check=True,
        ).stdout

    run("init", "-q", "--bare", ".")
    return run


def tree(git, files):
    """A tree of {path: (mode, content)}."""
    git("read-tree", "--empty")
    for path, (mode, content) in files.items():
        oid = b"1" * 40 if mode == REPOSITORY else git("hash-object", "-w", "--stdin", stdin=content).strip()
        entry = b"%o %s\t%s\0" % (mode, content if mode == REPOSITORY else oid, path)
        git("update-index", "-z", "--index-info", stdin=entry)
    return git("write-tree").strip().decode()


def by_git(git, objects, before, after, *options):
    return git("diff", "--no-renames", *options, tree(git, before), tree(git, after))


def ours(objects, before, after, **form):
    """The same by our own hands."""
    made = []
    for path in sorted(before.keys() | after.keys()):
        sides = [entry(objects, files.get(path)) for files in (before, after)]
        if sides[0] != sides[1]:
            file = NetFile(path, None, *sides)
            made.append(Shown(file, patches_of(file, objects.read, **form)))
    return made


def entry(objects, file):
    if file is None:
        return None
    mode, content = file
    return Entry(mode, content.decode()) if mode == REPOSITORY else objects.keep(content, mode)


CASES = {
    "added and deleted": ({b"a": (PLAIN, b"1\n")}, {b"b": (PLAIN, b"2\n")}),
    "empty": ({}, {b"empty": (PLAIN, b"")}),
    "no newline": ({b"a": (PLAIN, b"1\n2")}, {b"a": (PLAIN, b"1\n3")}),
    "newline gained": ({b"a": (PLAIN, b"1")}, {b"a": (PLAIN, b"1\n")}),
    "mode": ({b"a": (PLAIN, b"1\n")}, {b"a": (EXECUTABLE, b"1\n")}),
    "mode and content": ({b"a": (PLAIN, b"1\n")}, {b"a": (EXECUTABLE, b"2\n")}),
    "a link": ({b"a": (LINK, b"there")}, {b"a": (LINK, b"elsewhere")}),
    "a file becomes a link": ({b"a": (PLAIN, b"x\n")}, {b"a": (LINK, b"x")}),
    "a file becomes a folder": ({b"a": (PLAIN, b"x\n")}, {b"a/b": (PLAIN, b"x\n")}),
    "binary": ({b"a": (PLAIN, b"\0a")}, {b"a": (PLAIN, b"\0b")}),
    "binary added": ({}, {b"a b": (PLAIN, b"\0a")}),
    "names": ({b"a b": (PLAIN, b"1\n")}, {b"a b": (PLAIN, b"2\n"), "ä \n".encode(): (PLAIN, b"\n")}),
    "no utf8": ({b"\xff": (PLAIN, b"\xfe\n")}, {b"\xff": (PLAIN, b"\xfd\r\n")}),
    "a repository": ({b"sub": (REPOSITORY, b"1" * 40)}, {b"sub": (REPOSITORY, b"2" * 40)}),
}


@pytest.mark.needs("git")
@pytest.mark.parametrize("name", CASES)
def test_a_patch_is_what_git_writes(git, objects, name):
    before, after = CASES[name]

    assert b"".join(map(data, ours(objects, before, after))) == by_git(git, objects, before, after)


@pytest.mark.needs("git")
def test_binary_contents_are_what_git_writes(git, objects):
    before, after = (
        {b"a": (PLAIN, b"\0a" * 50), b"c": (PLAIN, b"\0")},
        {b"a": (PLAIN, b"\0b"), b"b": (PLAIN, b"\0")},
    )

    made = b"".join(map(data, ours(objects, before, after, binary=True)))

    assert re.findall(rb"^(?:diff|index|GIT|new|deleted).*", made, re.MULTILINE) == re.findall(
        rb"^(?:diff|index|GIT|new|deleted).*", by_git(git, objects, before, after, "--binary"), re.MULTILINE
    )


@pytest.mark.needs("git")
@pytest.mark.parametrize("context", [0, 1, 3, 20])
def test_random_patches_are_what_git_writes(git, objects, context):
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    before, after = {}, {}
    for number in range(40):
        text = [chance.choice(WORDS) for _ in range(chance.randrange(60))]
        before[b"file %d" % number] = (PLAIN, "\n".join(text).encode())
        for _ in range(chance.randrange(6)):
            at = chance.randrange(len(text) + 1)
            text[at : at + chance.randrange(4)] = [chance.choice(WORDS) for _ in range(chance.randrange(5))]
        after[b"file %d" % number] = (PLAIN, "\n".join(text).encode())

    made = b"".join(map(data, ours(objects, before, after, context=context)))

    assert made == by_git(git, objects, before, after, f"-U{context}"), f"seed {seed}"


@pytest.mark.needs("git")
@pytest.mark.parametrize("width", [40, 80, 133])
def test_counts_are_laid_out_as_git_does(git, objects, width):
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    before, after = {b"bin": (PLAIN, b"\0")}, {b"bin": (PLAIN, b"\0abc")}
    for number in range(25):
        path = b"/".join(
            bytes([97 + number]) * chance.randrange(1, 15) for _ in range(chance.randrange(1, 6))
        )
        most = chance.choice((3, 30, 300, 3000))
        before[path] = (PLAIN, b"old\n" * chance.randrange(most))
        after[path] = (PLAIN, b"new\n" * chance.randrange(most))

    told = [text_of(line) for line in stat_lines(ours(objects, before, after), width)]

    assert told == by_git(git, objects, before, after, f"--stat={width}").decode().splitlines(), (
        f"seed {seed}"
    )


def text_of(line):
    return (
        "".join(text for text, _ in line).rstrip(" ")
        if "|" in str(line)
        else "".join(text for text, _ in line)
    )


@pytest.mark.needs("git")
@pytest.mark.parametrize(
    ("source", "target"),
    [
        (b"a/b/c", b"a/x/c"), (b"a/b/c", b"a/c"), (b"a/c", b"a/b/c"), (b"x", b"y"), (b"a/x", b"b/x"),
        (b"a/b", b"a/c"), (b"src/a/b/c.py", b"src/a/d/c.py"), ("ä/x".encode(), b"b/x"), (b"x", b"d/x"),
    ],
)  # fmt: skip
def test_renames_are_what_git_writes(git, objects, source, target):
    text = b"".join(b"line %d\n" % number for number in range(40))
    before, after = {source: (PLAIN, text)}, {target: (PLAIN, text.replace(b"line 7\n", b"seven\n"))}
    trees = tree(git, before), tree(git, after)
    file = NetFile(target, source, objects.keep(before[source][1]), objects.keep(after[target][1]))
    one = Shown(file, patches_of(file, objects.read))

    assert data(one) == git("diff", "-M", *trees)
    assert [text_of(line) for line in stat_lines([one], 80)] == (
        git("diff", "-M", "--stat=80", *trees).decode().splitlines()
    )


def test_a_rename_without_a_change_is_whole(shown):
    assert data(shown(b"x\n", b"x\n", path=b"b", old_path=b"a")) == (
        b"diff --git a/a b/b\nsimilarity index 100%\nrename from a\nrename to b\n"
    )


def test_counts_of_one_file(shown):
    assert [text_of(line) for line in stat_lines([shown(b"1\n", b"2\n")], None)] == [
        " api.py | 2 +-",
        " 1 file changed, 1 insertion(+), 1 deletion(-)",
    ]
