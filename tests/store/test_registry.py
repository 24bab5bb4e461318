"""The registry: stores that were listed on purpose, in a file of one's own."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from devtrace.errors import EnvironmentError
from devtrace.store import registry
from devtrace.workspace import Workspace
from tests.processes import environment


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "home"
    place.mkdir()
    monkeypatch.setenv("HOME", str(place))
    return place


def store(tmp_path: Path, name: str) -> Workspace:
    made = Workspace(tmp_path / name / ".devtrace")
    made.dir.mkdir(parents=True)
    return made


def test_nothing_is_listed_by_itself(home: Path) -> None:
    assert registry.registered() == []
    assert list(home.iterdir()) == []


def test_stores_are_listed_once_in_the_order_of_listing(home: Path, tmp_path: Path) -> None:
    one, two = store(tmp_path, "one"), store(tmp_path, "two")
    for workspace in (one, two, one):
        registry.register(workspace)

    assert registry.registered() == [two.dir, one.dir]

    registry.unregister(two)
    registry.unregister(two)

    assert registry.registered() == [one.dir]


def test_a_store_that_is_gone_is_not_listed_and_not_forgotten(home: Path, tmp_path: Path) -> None:
    workspace = store(tmp_path, "one")
    registry.register(workspace)
    workspace.dir.rename(tmp_path / "moved")
    assert registry.registered() == []

    (tmp_path / "moved").rename(workspace.dir)

    assert registry.registered() == [workspace.dir]


def test_the_list_is_its_owners_alone(home: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        registry.register(store(tmp_path, "one"))
    finally:
        os.umask(before)

    folder = home / ".devtrace"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {
        "stores": 0o600,
        "lock": 0o600,
    }


@pytest.mark.parametrize(
    "name",
    [
        b"two\nlines",
        b"100%",
        b"%0A",
        b"%25",
        b"caf\xe9",
        b"\xff\xfe",
        b" blanks ",
        b"tab\t",
        "日本".encode(),
        b"\r",
    ],
    ids=repr,
)
def test_a_strange_name_comes_back_as_it_is(home: Path, tmp_path: Path, name: bytes) -> None:
    workspace = store(tmp_path, os.fsdecode(name))
    other = store(tmp_path, "plain")
    registry.register(workspace)
    registry.register(other)

    assert registry.registered() == [workspace.dir, other.dir]
    registry.unregister(workspace)
    assert registry.registered() == [other.dir]


LISTS_ITSELF = """
import sys
from pathlib import Path
from devtrace.store import registry
from devtrace.workspace import Workspace

sys.stdin.readline()
for _ in range(5):
    registry.register(Workspace(Path(sys.argv[1])))
"""


def test_eight_processes_may_list_at_once(home: Path, tmp_path: Path) -> None:
    stores = [store(tmp_path, f"store{number}") for number in range(8)]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", LISTS_ITSELF, workspace.dir], env=environment(), stdin=subprocess.PIPE
        )
        for workspace in stores
    ]
    for writer in writers:
        writer.communicate(b"go\n")

    assert [writer.returncode for writer in writers] == [0] * 8
    assert sorted(registry.registered()) == sorted(workspace.dir for workspace in stores)


def test_a_list_that_cannot_be_written_says_so_and_stays(home: Path, tmp_path: Path) -> None:
    workspace = store(tmp_path, "one")
    (home / ".devtrace").write_bytes(b"a file")

    with pytest.raises(EnvironmentError) as caught:
        registry.register(workspace)

    assert caught.value.code == "ERR_STORE_READONLY"
    assert registry.registered() == []


def test_a_draft_that_could_not_be_put_in_place_is_removed(home: Path, tmp_path: Path) -> None:
    registry.register(store(tmp_path, "one"))
    listed = home / ".devtrace" / "stores"
    listed.unlink()
    listed.mkdir()

    with pytest.raises(EnvironmentError):
        registry.register(store(tmp_path, "two"))

    assert sorted(path.name for path in (home / ".devtrace").iterdir()) == ["lock", "stores"]
