"""The host's policy knows the user's own rules and what his credential files hold, also when they change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devtrace import workspace as workspaces
from devtrace.services.redaction import Credentials, redaction
from devtrace.workspace import Workspace


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "work" / ".devtrace")
    made.root.mkdir()
    workspaces.create(made)
    return made


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def test_what_a_credential_file_holds_is_masked_wherever_it_stands(place: Workspace, home: Path) -> None:
    (home / ".netrc").write_text("machine a.example login ana password corr3ct-horse\n")
    (place.root / ".env").write_text("API_TOKEN=t0ken-from-env\n")

    policy = redaction(place, {"HOME": str(home)})

    assert "corr3ct" not in policy.redact_text("echo corr3ct-horse")
    assert "t0ken" not in policy.redact_text("curl -d t0ken-from-env")


def test_rules_and_exceptions_of_config_toml_are_in_force(place: Workspace, home: Path) -> None:
    place.config.write_text(
        '[policy.rules]\nticket = "ACME-[0-9]{6}"\n[policy.allow]\nfixture = "t0ken-.*"\n'
    )

    policy = redaction(place, {"HOME": str(home)})

    assert policy.redact_text("ACME-123456").startswith("[redacted:ticket:")
    assert policy.redact_text("A_TOKEN=t0ken-of-the-tests") == "A_TOKEN=t0ken-of-the-tests"


def test_a_broken_config_costs_the_users_rules_and_nothing_else(place: Workspace, home: Path) -> None:
    place.config.write_text("[policy.rules\n")

    assert "corr3ct" not in redaction(place, {"HOME": str(home)}).redact_text("A_TOKEN=corr3ct-horse")


def test_a_file_that_changes_or_comes_is_read_again(place: Workspace, home: Path) -> None:
    files = Credentials({"HOME": str(home)}, place.root)
    assert files.news() == []

    (place.root / ".env.local").write_text("A_TOKEN=first-t0ken\n")
    assert files.news() == [b"first-t0ken"]
    assert files.news() == []

    (place.root / ".env.local").write_text("A_TOKEN=first-t0ken\nB_TOKEN=second-t0ken\n")
    assert files.news() == [b"second-t0ken"]


def test_files_of_a_directory_count_once_work_is_done_there(tmp_path: Path, place: Workspace) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / ".env").write_text("A_TOKEN=t0ken-elsewhere\n")
    files = Credentials({}, place.root)
    assert files.news() == []

    files.work_in(str(tmp_path / "elsewhere"))

    assert files.news() == [b"t0ken-elsewhere"]


def test_what_is_no_plain_file_is_left_alone(place: Workspace, home: Path) -> None:
    os.mkfifo(home / ".netrc")
    (home / ".pypirc").mkdir()
    (home / ".npmrc").write_bytes(b"//r/:_authToken=too-large-a-file\n" * 10_000)
    (home / ".git-credentials").symlink_to("nowhere")

    assert Credentials({"HOME": str(home)}, place.root).news() == []
