"""Where the store is, where a new one goes, and which directories are safe."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from devtrace import workspace
from devtrace.errors import EnvironmentError
from devtrace.workspace import Workspace


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a store in its root and a folder deep inside."""
    root = tmp_path / "shop"
    (root / ".git").mkdir(parents=True)
    (root / "src" / "cart").mkdir(parents=True)
    return root


def made(root: Path) -> Workspace:
    place = Workspace(root / ".devtrace")
    workspace.create(place)
    place.database.touch()
    return place


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


class TestFinding:
    def test_the_store_above_is_found_from_deep_inside(self, repository: Path) -> None:
        made(repository)

        found = workspace.find(repository / "src" / "cart")

        assert found.dir == repository / ".devtrace"
        assert found.root == repository

    def test_the_nearest_store_wins(self, repository: Path) -> None:
        made(repository)
        inner = made(repository / "src")

        assert workspace.find(repository / "src" / "cart").dir == inner.dir

    def test_no_store_is_an_error_that_says_how_to_make_one(self, repository: Path) -> None:
        with pytest.raises(EnvironmentError) as caught:
            workspace.find(repository)

        assert caught.value.code == "ERR_STORE_MISSING"
        assert "devtrace init" in caught.value.hint

    def test_the_registry_in_the_home_directory_is_no_store(self, tmp_path: Path) -> None:
        (tmp_path / ".devtrace").mkdir()

        with pytest.raises(EnvironmentError, match=r"no \.devtrace"):
            workspace.find(tmp_path)

    def test_a_traced_shell_knows_its_store_wherever_it_goes(
        self, repository: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place = made(repository)
        monkeypatch.setenv("DEVTRACE_DIR", str(place.dir))

        assert workspace.find().dir == place.dir

    def test_a_named_store_that_is_gone_is_not_waited_for(
        self, repository: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place = made(repository)
        monkeypatch.setenv("DEVTRACE_DIR", str(repository / "gone"))
        monkeypatch.chdir(repository)

        assert workspace.find().dir == place.dir

    def test_a_symbolic_link_is_refused(self, repository: Path, tmp_path: Path) -> None:
        elsewhere = made(tmp_path)
        (repository / ".devtrace").symlink_to(elsewhere.dir)

        with pytest.raises(EnvironmentError) as caught:
            workspace.find(repository)

        assert caught.value.code == "ERR_STORE_UNSAFE"

    def test_a_dangling_link_is_refused_too(self, repository: Path) -> None:
        (repository / ".devtrace").symlink_to(repository / "nowhere")

        with pytest.raises(EnvironmentError, match="symbolic link"):
            workspace.find(repository)


class TestPlacing:
    def test_a_new_store_goes_to_the_root_of_the_repository(self, repository: Path) -> None:
        place, was_there = workspace.find_or_place(repository / "src" / "cart")

        assert (place.dir, was_there) == (repository / ".devtrace", False)
        assert not place.exists()

    def test_without_a_repository_it_stays_here(self, tmp_path: Path) -> None:
        place, was_there = workspace.find_or_place(tmp_path)

        assert (place.dir, was_there) == (tmp_path / ".devtrace", False)

    def test_a_worktree_is_a_repository_too(self, tmp_path: Path) -> None:
        (tmp_path / ".git").write_text("gitdir: elsewhere\n")
        (tmp_path / "src").mkdir()

        assert workspace.repository_root(tmp_path / "src") == tmp_path

    def test_a_store_that_is_there_is_told_apart_from_a_new_one(self, repository: Path) -> None:
        made(repository)

        assert workspace.find_or_place(repository)[1] is True


class TestMaking:
    def test_a_new_store_is_for_its_owner_only_and_ignored_by_git(self, repository: Path) -> None:
        old = os.umask(0)
        try:
            place = made(repository)
        finally:
            os.umask(old)

        assert [mode(folder) for folder in (place.dir, place.spool, place.run, place.log)] == [0o700] * 4
        assert (place.dir / ".gitignore").read_text() == "*\n"
        assert mode(place.salt) == 0o600
        assert place.salt.stat().st_size == 32

    def test_making_it_again_keeps_the_salt_and_the_users_gitignore(self, repository: Path) -> None:
        place = made(repository)
        salt = place.salt.read_bytes()
        (place.dir / ".gitignore").write_text("# mine\n")

        workspace.create(place)

        assert place.salt.read_bytes() == salt
        assert (place.dir / ".gitignore").read_text() == "# mine\n"

    def test_a_file_in_its_place_is_refused(self, repository: Path) -> None:
        (repository / ".devtrace").write_text("")

        with pytest.raises(EnvironmentError) as caught:
            workspace.create(Workspace(repository / ".devtrace"))

        assert caught.value.code == "ERR_STORE_UNSAFE"

    @pytest.mark.parametrize(
        ("number", "code"),
        [
            (errno.ENOSPC, "ERR_STORE_FULL"),
            (errno.EDQUOT, "ERR_STORE_FULL"),
            (errno.EROFS, "ERR_STORE_READONLY"),
            (errno.EACCES, "ERR_STORE_READONLY"),
        ],
    )
    def test_the_disks_refusal_becomes_our_words(self, number: int, code: str) -> None:
        error = workspace.from_os_error(OSError(number, os.strerror(number)), Path("here"))

        assert error.code == code
        assert error.hint


class TestTheRuntimeDirectory:
    def test_it_is_private_and_under_xdg_runtime_dir(self) -> None:
        base = workspace.runtime_base()

        assert base == Path(os.environ["XDG_RUNTIME_DIR"]) / "devtrace"
        assert mode(base) == 0o700
        assert workspace.runtime_base() == base

    def test_without_xdg_runtime_dir_it_is_a_directory_of_our_own_in_the_temp_folder(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("XDG_RUNTIME_DIR")

        assert workspace.runtime_base() == Path(os.environ["TMPDIR"]) / f"devtrace-{os.getuid()}"

    def test_a_runtime_directory_that_others_may_enter_is_not_used(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(0o755)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "open"))

        assert workspace.runtime_base().parent == Path(os.environ["TMPDIR"])

    def test_a_planted_directory_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        planted = Path(os.environ["TMPDIR"]) / f"devtrace-{os.getuid()}"
        planted.mkdir()
        planted.chmod(0o777)

        with pytest.raises(EnvironmentError) as caught:
            workspace.runtime_base()

        assert caught.value.code == "ERR_RUNTIME_DIR"

    def test_a_planted_link_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        (Path(os.environ["TMPDIR"]) / f"devtrace-{os.getuid()}").symlink_to(tmp_path)

        with pytest.raises(EnvironmentError):
            workspace.runtime_base()

    def test_a_disk_is_told_from_a_memory_file_system(self, tmp_path: Path) -> None:
        mounts = Path("/proc/self/mounts")
        if not mounts.exists():
            assert workspace.is_memory(tmp_path) is False
            return
        kinds = {line.split()[1]: line.split()[2] for line in mounts.read_text().splitlines()}

        assert workspace.is_memory(Path("/proc")) is False
        assert all(
            workspace.is_memory(Path(place))
            for place, kind in kinds.items()
            if kind == "tmpfs" and "\\" not in place
        )
