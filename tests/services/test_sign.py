"""Signatures of seals: real ssh-keygen, real keys in a home of the test's own."""

from __future__ import annotations

import os
import random
import stat
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from devtrace.errors import DevTraceError
from devtrace.services import sign
from devtrace.store.anchors import Seal
from tests.recorded import Recorded

pytestmark = pytest.mark.needs("ssh-keygen", "git")


@pytest.fixture
def home():
    folder = Path(os.environ["HOME"])
    (folder / ".ssh").mkdir(mode=0o700)
    return folder


@pytest.fixture
def recorded(tmp_path):
    (tmp_path / "repo").mkdir()
    made = Recorded(tmp_path / "repo")
    with closing(made):
        yield made


def make_key(path: Path, passphrase: str = "", kind: str = "ed25519") -> Path:
    command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "a key", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


def fingerprint(key: Path) -> str:
    told = subprocess.run(["ssh-keygen", "-lf", str(key)], check=True, capture_output=True, text=True)
    return told.stdout.split()[1]


def settings(**values: str) -> None:
    for name, value in values.items():
        subprocess.run(["git", "config", "--global", name.replace("__", "."), value], check=True)


def ended(recorded: Recorded, count: int = 2) -> str:
    session = recorded.session()
    for _ in range(count):
        recorded.command()
    recorded.end(3)
    return session


def signed(recorded: Recorded, session: str | None = None, key: Path | None = None) -> list[Seal]:
    seals = sign.unsigned(recorded.db, session, check(recorded))
    sign.sign(recorded.workspace, seals, os.environ, key)
    return seals


def check(recorded: Recorded, session: str | None = None) -> list[sign.Signature]:
    return sign.check(recorded.db, recorded.workspace, session, os.environ)


def states(recorded: Recorded) -> list[str]:
    return [one.state for one in check(recorded)]


def files(recorded: Recorded) -> list[Path]:
    return sorted(recorded.workspace.signatures.glob("*"))


# --- making them --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_sealed_session_is_signed_with_the_key_in_ssh(recorded, home, kind):
    key = make_key(home / ".ssh" / f"id_{kind}", kind=kind)
    session = ended(recorded)

    signed(recorded)

    assert check(recorded) == [sign.Signature(session, 1, True, "good", fingerprint(key))]
    (file,) = files(recorded)
    assert file.name == f"{session}.1.sig"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_anybody_can_check_one_by_hand(recorded, home):
    make_key(home / ".ssh" / "id_ed25519")
    session = ended(recorded)
    signed(recorded)
    (digest,) = recorded.db.execute("SELECT hash FROM seals").fetchone()
    (sealed_us,) = recorded.db.execute("SELECT sealed_us FROM seals").fetchone()

    text = f"devtrace seal 1\nsession {session}\nseq 2\nhash {digest}\nsealed_us {sealed_us}\n"
    command = ["ssh-keygen", "-Y", "check-novalidate", "-n", "devtrace", "-s", str(files(recorded)[0])]
    subprocess.run(command, input=text.encode(), check=True, capture_output=True)


def test_all_that_is_sealed_is_signed_once(recorded, home):
    make_key(home / ".ssh" / "id_ed25519")
    first, second = ended(recorded), ended(recorded, 0)
    recorded.session()

    assert {seal.session for seal in signed(recorded)} == {first, second}
    assert sign.unsigned(recorded.db, None, check(recorded)) == []

    third = ended(recorded)
    assert [seal.session for seal in sign.unsigned(recorded.db, None, check(recorded))] == [third]


def test_one_session_can_be_signed_alone(recorded, home):
    make_key(home / ".ssh" / "id_ed25519")
    ended(recorded)
    session = ended(recorded)

    signed(recorded, session)

    assert [one.session for one in check(recorded)] == [session]
    assert check(recorded, "0" * 32) == []


def test_a_session_that_has_not_ended_cannot_be_signed(recorded):
    session = recorded.session()

    with pytest.raises(DevTraceError) as told:
        sign.unsigned(recorded.db, session, [])
    assert told.value.code == "ERR_NOT_SEALED"


def test_what_came_late_is_signed_again_and_the_first_signature_stays(recorded, home):
    make_key(home / ".ssh" / "id_ed25519")
    session = ended(recorded)
    signed(recorded)
    recorded.note("late", session=session)
    assert [one.is_head for one in check(recorded)] == [False]

    signed(recorded)

    assert [(one.n, one.is_head, one.state) for one in check(recorded)] == [
        (1, False, "good"),
        (2, True, "good"),
    ]


def test_a_key_that_is_named_is_taken(recorded, home, tmp_path):
    make_key(home / ".ssh" / "id_ed25519")
    named = make_key(tmp_path / "named key")
    ended(recorded)

    signed(recorded, key=named)

    assert [one.key for one in check(recorded)] == [fingerprint(named)]


def test_the_key_that_git_signs_with_is_taken(recorded, home):
    make_key(home / ".ssh" / "id_ed25519")
    of_git = make_key(home / "git key")
    settings(gpg__format="ssh", user__signingKey="~/git key.pub")
    ended(recorded)

    signed(recorded)

    assert [one.key for one in check(recorded)] == [fingerprint(of_git)]


def test_gits_key_is_left_alone_where_git_signs_with_gpg(recorded, home):
    own = make_key(home / ".ssh" / "id_ed25519")
    settings(user__signingKey="0123ABCD")
    ended(recorded)

    signed(recorded)

    assert [one.key for one in check(recorded)] == [fingerprint(own)]


@pytest.mark.needs("ssh-agent", "ssh-add")
@pytest.mark.parametrize("prefix", ["key::", ""])
def test_a_key_of_an_agent_is_named_by_its_public_half(recorded, home, tmp_path, monkeypatch, prefix):
    key = make_key(tmp_path / "key")
    public = key.with_name("key.pub").read_text().strip()
    its = fingerprint(key)
    agent = subprocess.run(
        ["ssh-agent", "-s", "-a", str(home / "agent")], check=True, capture_output=True, text=True
    )
    pid = int(agent.stdout.split("SSH_AGENT_PID=")[1].split(";")[0])
    monkeypatch.setenv("SSH_AUTH_SOCK", str(home / "agent"))
    try:
        subprocess.run(["ssh-add", "-q", str(key)], check=True, stdin=subprocess.DEVNULL)
        key.unlink()  # from here on the agent alone has it
        settings(gpg__format="ssh", user__signingKey=prefix + public)
        ended(recorded)

        signed(recorded)

        assert [one.key for one in check(recorded)] == [its]
    finally:
        os.kill(pid, 15)


@pytest.mark.parametrize(
    ("named", "code"), [(None, "ERR_SIGN_KEY"), ("nowhere", "ERR_SIGN_KEY"), ("words", "ERR_SIGN_FAILED")]
)
def test_without_a_key_it_says_so_and_signs_nothing(recorded, home, named, code):
    ended(recorded)
    (home / "words").write_text("no key\n")

    with pytest.raises(DevTraceError) as told:
        signed(recorded, key=home / named if named else None)

    assert told.value.code == code
    assert files(recorded) == []


def test_without_ssh_keygen_it_says_so(recorded, home, monkeypatch):
    make_key(home / ".ssh" / "id_ed25519")
    ended(recorded)
    monkeypatch.setenv("PATH", str(home))

    with pytest.raises(DevTraceError) as told:
        signed(recorded)

    assert told.value.code == "ERR_SIGN_TOOL"
    assert "install OpenSSH" in told.value.hint


def old_keygen(folder: Path) -> None:
    """One that knows no -Y, as before OpenSSH 8.1."""
    folder.mkdir()
    tool = folder / "ssh-keygen"
    tool.write_text("#!/bin/sh\necho 'unknown option -- Y' >&2\nexit 1\n")
    tool.chmod(0o755)


def test_an_old_ssh_keygen_is_known_as_one(recorded, home, monkeypatch):
    make_key(home / ".ssh" / "id_ed25519")
    ended(recorded)
    seals = signed(recorded)
    old_keygen(home / "old")
    monkeypatch.setenv("PATH", str(home / "old"))

    assert states(recorded) == ["unchecked"]
    with pytest.raises(DevTraceError) as told:
        sign.sign(recorded.workspace, seals, os.environ)
    assert told.value.code == "ERR_SIGN_TOOL"


def test_signatures_that_nothing_can_check_are_not_called_bad(recorded, home, monkeypatch):
    make_key(home / ".ssh" / "id_ed25519")
    ended(recorded)
    signed(recorded)
    monkeypatch.setenv("PATH", str(home))

    assert states(recorded) == ["unchecked"]


def test_nothing_is_started_where_there_is_no_signature(recorded, home, monkeypatch):
    ended(recorded)
    monkeypatch.setattr(subprocess, "run", None)

    assert check(recorded) == []


def test_a_folder_that_leads_elsewhere_is_not_written_into(recorded, home, tmp_path):
    make_key(home / ".ssh" / "id_ed25519")
    ended(recorded)
    (tmp_path / "elsewhere").mkdir()
    recorded.workspace.signatures.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(DevTraceError) as told:
        sign.sign(recorded.workspace, sign.last_seals(recorded.db), os.environ)

    assert told.value.code == "ERR_STORE_UNSAFE"
    assert list((tmp_path / "elsewhere").iterdir()) == []


# --- who vouches --------------------------------------------------------------------------------------------


def allow(home: Path, key: Path, options: str = "") -> None:
    kind, public, *_ = key.with_name(key.name + ".pub").read_text().split()
    (home / "allowed").write_text(f"ana@example.org {options} {kind} {public}\n")
    settings(gpg__ssh__allowedSignersFile="~/allowed")


def test_the_allowed_signers_of_git_tell_whose_key_it_is(recorded, home):
    key = make_key(home / ".ssh" / "id_ed25519")
    allow(home, key)
    ended(recorded)
    signed(recorded)

    assert [(one.principal, one.key) for one in check(recorded)] == [("ana@example.org", fingerprint(key))]


def test_a_relative_file_of_allowed_signers_is_looked_for_in_the_working_tree(recorded, home):
    key = make_key(home / ".ssh" / "id_ed25519")
    allow(home, key)
    (home / "allowed").rename(recorded.workspace.root / "allowed")
    settings(gpg__ssh__allowedSignersFile="allowed")
    ended(recorded)
    signed(recorded)

    assert [one.principal for one in check(recorded)] == ["ana@example.org"]


@pytest.mark.parametrize("why", ["stranger", "namespace", "revoked", "no file"])
def test_where_they_do_not_vouch_nobody_does(recorded, home, tmp_path, why):
    key = make_key(home / ".ssh" / "id_ed25519")
    allow(home, make_key(tmp_path / "other") if why == "stranger" else key)
    if why == "namespace":
        allow(home, key, 'namespaces="git"')
    if why == "revoked":
        settings(gpg__ssh__revocationFile=str(key) + ".pub")
    if why == "no file":
        (home / "allowed").unlink()
    ended(recorded)
    signed(recorded)

    assert [(one.state, one.principal) for one in check(recorded)] == [("good", None)]


# --- forged, and changed ------------------------------------------------------------------------------------


def flip_a_byte(content: bytes, chance: random.Random, _: bytes) -> bytes:
    start = content.index(b"\n") + 1
    at = chance.randrange(start + 20, content.index(b"\n-----END") - 4)
    other = chance.choice([letter for letter in b"ABCDabcd0123" if letter != content[at]])
    return content[:at] + bytes([other]) + content[at + 1 :] if content[at : at + 1] != b"\n" else b""


def cut_it(content: bytes, chance: random.Random, _: bytes) -> bytes:
    return content[: chance.randrange(len(content) - 40)]


def of_another_seal(_: bytes, __: random.Random, other: bytes) -> bytes:
    return other


def anything(_: bytes, chance: random.Random, __: bytes) -> bytes:
    return chance.randbytes(chance.randint(0, 400))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("forge", [flip_a_byte, cut_it, of_another_seal, anything])
def test_a_forged_signature_is_bad(recorded, home, forge, seed):
    chance = random.Random(seed)
    allow(home, make_key(home / ".ssh" / "id_ed25519"))
    ended(recorded)
    ended(recorded)
    signed(recorded)
    one, other = files(recorded)

    one.write_bytes(forge(one.read_bytes(), chance, other.read_bytes()))

    assert sorted(states(recorded)) == ["bad", "good"], seed


def test_a_signature_made_for_something_else_is_bad(recorded, home, tmp_path):
    key = make_key(home / ".ssh" / "id_ed25519")
    ended(recorded)
    (seal,) = signed(recorded)
    text = tmp_path / "text"
    text.write_bytes(sign.text_of(seal))
    subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", str(key), str(text)], check=True)

    files(recorded)[0].write_bytes((tmp_path / "text.sig").read_bytes())

    assert states(recorded) == ["bad"]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE seals SET hash = replace(hash, substr(hash, 1, 1), 'x')",
        "UPDATE seals SET sealed_us = sealed_us + 1",
        "UPDATE seals SET seq = seq + 1",
        "UPDATE seals SET n = n + 1",
        "DELETE FROM seals",
    ],
)
def test_a_seal_that_was_changed_has_a_bad_signature(recorded, home, change):
    make_key(home / ".ssh" / "id_ed25519")
    ended(recorded)
    signed(recorded)

    recorded.db.execute(change)

    assert states(recorded) == ["bad"]


def test_who_signs_a_rewrite_with_a_key_of_theirs_is_not_taken_for_the_user(recorded, home, tmp_path):
    allow(home, make_key(home / ".ssh" / "id_ed25519"))
    ended(recorded)
    signed(recorded)
    recorded.db.execute("UPDATE seals SET hash = ?", ("f" * 64,))
    theirs = make_key(tmp_path / "theirs")

    sign.sign(recorded.workspace, sign.last_seals(recorded.db), os.environ, theirs)

    (one,) = check(recorded)
    assert (one.state, one.principal, one.key) == ("good", None, fingerprint(theirs))


def test_a_link_or_a_fifo_in_a_signatures_place_is_bad_and_hangs_nobody(recorded, home):
    make_key(home / ".ssh" / "id_ed25519")
    ended(recorded)
    ended(recorded)
    signed(recorded)
    one, other = files(recorded)
    one.rename(home / "moved")
    one.symlink_to(home / "moved")
    other.unlink()
    os.mkfifo(other)

    assert states(recorded) == ["bad", "bad"]


def test_files_that_are_no_signatures_are_passed_over(recorded):
    recorded.workspace.signatures.mkdir()
    for name in ("readme", "x.1.sig", f"{'0' * 32}.01.sig", f"{'0' * 32}.99999999999999999999.sig"):
        (recorded.workspace.signatures / name).write_text("x")

    assert check(recorded) == []
