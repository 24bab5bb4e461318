"""`devtrace verify`: the verdict, in words and as JSON, and what a shell can branch on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from contextlib import closing

import pytest

from devtrace.store import anchors
from devtrace.store.connection import open_store
from devtrace.store.hold import hold
from devtrace.views.jsonl import FIELDS
from tests.edits import begun
from tests.processes import environment
from tests.query.test_verify import relink
from tests.recorded import SECOND, START
from tests.recorded import Recorded as Store
from tests.terminals import Terminal

pytestmark = pytest.mark.needs("git")


@pytest.fixture
def repo(tmp_path):
    return tmp_path / "repo"


@pytest.fixture
def place(repo):
    made = begun(repo, kept="one\n")
    made.write("kept.py", "two\n")
    made.command("make edits")
    made.end()
    return made


def done_to(place, statement, *values):
    with closing(open_store(place.workspace)) as db:
        db.execute(statement, values)


def test_a_sound_record_is_said_to_be_sound_and_what_that_means(run, place):
    told = run("verify")

    assert (told.status, told.err) == (0, "")
    assert told.out.startswith("Checked 1 session, 2 events, 1 seal, 0 kept outputs: sound\n")
    assert "nothing     a change in the database alone is found" in told.out


def test_one_session_tells_its_head_to_be_kept_elsewhere(run, place):
    (session,) = {row["session"] for row in place.rows()}
    with closing(open_store(place.workspace)) as db:
        (head,) = db.execute("SELECT hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()

    assert f"head of {session[:8]}" in run("verify", session).out
    assert head in run("verify", session[:8]).out


def test_what_was_changed_is_named_and_ends_with_status_1(run, place):
    done_to(place, "UPDATE events SET title = '\x1b[31mnever' WHERE kind = 'run_command'")

    told = run("verify")

    assert told.status == 1
    assert "changed" in told.out.splitlines()[0]
    assert "not as it was recorded" in told.out
    assert "\x1b" not in told.out


def test_the_table_of_changed_files_is_held_against_the_events(run, place):
    done_to(place, "UPDATE file_changes SET path = 'other.py'")

    assert "index" in run("verify").out.splitlines()[0]


def test_json_has_a_line_for_each_finding_and_the_sum(run, place):
    done_to(place, "DELETE FROM events WHERE kind = 'edit_files'")

    told = run("verify", "--json")

    *found, summary = [json.loads(line) for line in told.out.splitlines()]
    assert told.status == 1
    assert [(one["record"], one["what"], one["doubt"]) for one in found] == [
        ("verify", "truncated", False), ("verify", "index", False),
    ]  # fmt: skip
    assert (summary["record"], summary["findings"], summary["sound"], summary["events"]) == (
        "verified",
        2,
        False,
        1,
    )


def test_an_unknown_session_is_an_error(run, place):
    told = run("verify", "ffff")

    assert (told.status, told.out) == (2, "")
    assert "ERR_ID_UNKNOWN" in told.err


# --- what stands outside the database -----------------------------------------------------------------------


@pytest.fixture
def old(repo):
    """Three sessions that ended an hour ago, with their lines in seals.log."""
    (repo / ".git").mkdir(parents=True)
    made = Store(repo)
    with closing(made):
        for number in range(1, 4):
            made.session(ago_s(3600), id=f"{number}{'0' * 31}")
            made.command("make")
            made.end(ago_s(3500))
        anchors.sync(made.db, made.workspace)
        yield made


def ago_s(seconds: float) -> float:
    return time.time() - START / SECOND - seconds


def rewrite(store: Store) -> None:
    """An event is changed, and chain and seal are written anew with it."""
    store.db.execute("UPDATE events SET title = 'never' WHERE session = ?", (store.session_id,))
    relink(store.db, store.session_id, 0)
    store.db.execute(
        "UPDATE seals SET hash = (SELECT hash FROM events WHERE events.seq = seals.seq) WHERE session = ?",
        (store.session_id,),
    )


def test_a_session_that_ended_stands_in_the_file_at_once(run, repo):
    (repo / ".git").mkdir(parents=True)
    assert run("run", "--", "true").status == 0

    told = run("verify", "--json")

    assert (told.records[-1]["anchored"], told.records[-1]["seals"]) == (1, 1)
    assert "In seals.log: 1 of 1 seal." in run("verify").out
    log = anchors.read(repo / ".devtrace" / "seals.log")
    assert log is not None
    assert [seal.session for seal in log.seals] == [run("sessions", "--json").records[0]["id"]]


def test_a_note_into_a_session_that_is_over_is_told_as_late(run, old):
    assert run("note", "an afterthought").status == 0

    told = run("verify")

    assert told.status == 0
    assert told.out.startswith(f"late         {old.session_id[:8]}  1 seal after the first, over 1 event of ")
    assert "In seals.log: 4 of 4 seals." in told.out
    (late,) = [one for one in run("verify", "--json").records if one["record"] == "late"]
    assert (late["session"], late["seals"], late["events"]) == (old.session_id, 1, 1)
    assert set(late) == set(FIELDS["late"][1])


def test_a_whole_rewrite_of_the_database_is_named(run, old):
    rewrite(old)

    told = run("verify")

    assert told.status == 1
    assert told.out.startswith(f"anchor       {old.session_id[:8]}  a seal that stands in seals.log was")


def test_a_rewrite_that_took_the_file_along_is_named_by_the_copy(run, old, tmp_path):
    shutil.copy(old.workspace.seals, tmp_path / "kept")
    assert "Compared with 3 seals of the copy." in run("verify", "--against", str(tmp_path / "kept")).out
    rewrite(old)
    old.workspace.seals.unlink()

    assert run("verify").status == 0
    told = run("verify", "--against", str(tmp_path / "kept"))

    assert told.status == 1
    assert told.out.startswith(f"copy         {old.session_id[:8]}  ")
    assert run("verify", "--against", str(tmp_path / "kept"), "--json").records[-1]["compared"] == 3


@pytest.mark.parametrize("content", [None, b"", b"words\n\xff\x00"])
def test_a_copy_that_is_none_is_an_error(run, old, tmp_path, content):
    if content is not None:
        (tmp_path / "kept").write_bytes(content)

    told = run("verify", "--against", str(tmp_path / "kept"))

    assert (told.status, told.out) == (2, "")
    assert "ERR_SEALS_COPY" in told.err


def test_lines_that_were_cut_off_are_told_once_and_put_back(run, old):
    whole = old.workspace.seals.read_bytes()
    old.workspace.seals.write_bytes(whole[: len(whole) // 3])

    told = run("verify")

    assert told.status == 0
    assert told.out.count("unanchored   ") == 2
    assert old.workspace.seals.read_bytes() == whole
    assert "unanchored" not in run("verify").out


def test_a_line_that_was_changed_is_named(run, old):
    text = old.workspace.seals.read_text()
    old.workspace.seals.write_text(text.replace(" 0 ", " 1 ", 1))

    told = run("verify")

    assert told.status == 1
    assert told.out.startswith("anchor file  lines of seals.log were changed")


def test_a_link_in_the_files_place_is_named_and_not_followed(run, old, tmp_path):
    old.workspace.seals.rename(tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere").read_bytes()
    old.workspace.seals.symlink_to(tmp_path / "elsewhere")
    old.session(ago_s(100))
    old.end(ago_s(90))

    told = run("verify")

    assert told.status == 1
    assert told.out.startswith("anchor file  lines of seals.log")
    assert "There is no seals.log that can be read" in told.out
    assert (tmp_path / "elsewhere").read_bytes() == before


def test_a_store_without_the_file_says_that_it_was_begun(run, old):
    old.workspace.seals.unlink()

    told = run("verify")

    assert told.status == 0
    assert "seals.log was begun just now, with 3 seals" in told.out


# --- signatures ---------------------------------------------------------------------------------------------


@pytest.fixture
def key(tmp_path):
    return make_key(tmp_path / "key")


def make_key(path, passphrase=""):
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


@pytest.mark.needs("ssh-keygen")
def test_what_is_sound_is_signed_and_said_to_be(run, old, key):
    told = run("verify", "--sign", "--key", str(key))

    assert (told.status, told.err.splitlines()[0].partition(";")[0]) == (0, "Signed 3 sessions")
    assert "nobody vouched for whose that is" in told.out
    assert "Signed: 3 of 3 sealed sessions." in told.out
    assert run("verify", "--sign", "--key", str(key)).err == "Nothing is left to be signed.\n"
    *signed, summary = run("verify", "--json").records
    assert [(one["record"], one["state"], one["head"]) for one in signed] == [("signature", "good", True)] * 3
    assert (summary["sealed"], summary["signed"]) == (3, 3)
    assert set(signed[0]) == set(FIELDS["signature"][1])
    assert set(summary) == set(FIELDS["verified"][1])


@pytest.mark.needs("ssh-keygen")
def test_allowed_signers_are_named(run, old, key):
    kind, public, *_ = key.with_suffix(".pub").read_text().split()
    (old.workspace.root / "allowed").write_text(f"ana@example.org {kind} {public}\n")
    subprocess.run(["git", "config", "--global", "gpg.ssh.allowedSignersFile", "allowed"], check=True)

    told = run("verify", old.session_id, "--sign", "--key", str(key))

    assert told.out.startswith("signed       1 session, by ana@example.org with the key SHA256:")
    assert "Signed: 1 of 1 sealed session." in told.out


@pytest.mark.needs("ssh-keygen")
def test_a_signature_that_does_not_fit_is_a_finding(run, old, key):
    assert run("verify", "--sign", "--key", str(key)).status == 0
    rewrite(old)
    old.workspace.seals.unlink()

    told = run("verify")

    assert told.status == 1
    assert told.out.startswith(f"signature    {old.session_id[:8]}  a signature does not fit its seal")
    assert "Signed: 2 of 3 sealed sessions." in told.out


@pytest.mark.needs("ssh-keygen")
def test_what_is_not_sound_is_not_signed(run, old, key):
    rewrite(old)

    told = run("verify", "--sign", "--key", str(key))

    assert told.status == 1
    assert told.err == "Nothing was signed: the record is not as it was written.\n"
    assert not old.workspace.signatures.exists()


def test_a_session_that_goes_on_is_not_signed(run, old):
    session = old.session(ago_s(5))
    with closing(hold(old.workspace, session)):
        told = run("verify", session, "--sign")

    assert told.status == 2
    assert "ERR_NOT_SEALED" in told.err


def test_a_key_without_sign_is_an_error(run, old):
    told = run("verify", "--key", "somewhere")

    assert (told.status, told.out) == (2, "")
    assert "ERR_USAGE" in told.err


@pytest.mark.needs("ssh-keygen")
def test_a_passphrase_is_not_waited_for_where_nobody_can_type_it(run, old, tmp_path):
    locked = make_key(tmp_path / "locked", "open sesame")
    asked = tmp_path / "asked"
    asked.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-asked\necho open sesame\n")
    asked.chmod(0o755)
    env = {"DISPLAY": ":9", "SSH_ASKPASS": str(asked), "SSH_AUTH_SOCK": ""}

    told = run("verify", "--sign", "--key", str(locked), env=env, start_new_session=True)

    assert (told.status, told.out) == (1, "")
    assert "ERR_SIGN_FAILED" in told.err
    assert "needs a terminal or an agent" in told.err
    assert not (tmp_path / "was-asked").exists()


@pytest.mark.needs("ssh-keygen")
def test_a_passphrase_is_asked_for_once_on_the_terminal(old, tmp_path):
    locked = make_key(tmp_path / "locked", "open sesame")
    argv = [sys.executable, "-m", "devtrace", "verify", "--sign", "--key", str(locked)]

    with Terminal(argv, env=environment(SSH_AUTH_SOCK=""), cwd=old.workspace.root) as terminal:
        terminal.wait_for("Enter passphrase")
        terminal.send("open sesame\r")
        terminal.wait_for("Signed 3 sessions")

        assert terminal.wait_exit() == 0
        assert terminal.text.count("Enter passphrase") == 1
        assert "open sesame" not in terminal.text
