"""sign: SSH signatures of seals, as git makes them for commits (ssh-keygen -Y, PROTOCOL.sshsig).

What is signed is the text of one seal, `text_of`; its signature is `.devtrace/signatures/<session>.<n>.sig`.
So anybody can check one by hand, with ssh-keygen and the five lines of text.

Lives here: `sign`, `check`, which key and which allowed signers git's settings name. Not here: whether the
events are those under the seal (query/verify.py), words (views/verify.py).
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from devtrace.errors import EnvironmentError, UsageError
from devtrace.query.seals import Signature
from devtrace.store.anchors import Seal
from devtrace.workspace import Workspace, from_os_error

NAMESPACE = "devtrace"
_OWN_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
_PATIENCE_S = 30  # with ssh-keygen, where nobody is there whom it could have asked
_AT_ONCE = 500  # seals signed by one ssh-keygen: a passphrase is asked for once each time
_NAME = re.compile(r"([0-9a-f]{32})\.([1-9]\d{0,17})\.sig", re.ASCII)
_KEY = re.compile(r" with (\S+) key (SHA256:\S+)")
_PUBLIC = re.compile(r"(ssh-|ecdsa-|sk-)\S+ \S+")
_SIGNATURE_LIMIT = 64 << 10  # bytes; an RSA signature of 16,384 bits has a tenth
_TOO_OLD = re.compile(r"(unknown|illegal|invalid) option", re.IGNORECASE)
_SEALS = "SELECT n, session, seq, hash, sealed_us, late FROM seals WHERE "
_LAST = "n IN (SELECT max(n) FROM seals WHERE coalesce(?, session) = session GROUP BY session) ORDER BY n"


_Told = tuple[str, str | None, str | None]  # state, key, principal


def text_of(seal: Seal) -> bytes:
    """What is signed of a seal."""
    seq = "-" if seal.seq is None else seal.seq
    return (
        f"devtrace seal 1\nsession {seal.session}\nseq {seq}\nhash {seal.hash}\nsealed_us {seal.sealed_us}\n"
    ).encode("ascii")


# --- checking -----------------------------------------------------------------------------------------------


def check(
    db: sqlite3.Connection, workspace: Workspace, session: str | None, environ: Mapping[str, str]
) -> list[Signature]:
    """Every signature of one session or of all. Starts nothing where there is none."""
    there = [one for one in _stored(workspace) if session in (None, one[0])]
    if not there:
        return []
    signers = _allowed_signers(workspace, environ)
    heads = {seal.n for seal in last_seals(db, session)}
    with _scratch() as scratch:
        return [
            Signature(one, n, n in heads, *_checked(db, workspace, one, n, signers, scratch))
            for one, n in there
        ]


def last_seals(db: sqlite3.Connection, session: str | None = None) -> list[Seal]:
    """The last seal of one session, or of each."""
    return [Seal(*row) for row in db.execute(_SEALS + _LAST, (session,))]


def _stored(workspace: Workspace) -> list[tuple[str, int]]:
    try:
        matches = [_NAME.fullmatch(path.name) for path in _folder(workspace).iterdir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise from_os_error(error, workspace.signatures) from error
    return sorted((match[1], int(match[2])) for match in matches if match)


def _checked(
    db: sqlite3.Connection, workspace: Workspace, session: str, n: int, signers: list[str], scratch: Path
) -> _Told:
    row = db.execute(_SEALS + "n = ? AND session = ?", (n, session)).fetchone()
    content = _read(_path(workspace, session, n))
    if row is None or content is None:
        return "bad", None, None
    file = scratch / "checked.sig"  # a copy: nothing of the store is given to another program by its name
    file.write_bytes(content)
    try:
        return _told(text_of(Seal(*row)), file, signers)
    except (OSError, subprocess.SubprocessError):
        return "unchecked", None, None


def _told(text: bytes, file: Path, signers: list[str]) -> _Told:
    if signers:
        named = _keygen("-Y", "find-principals", *signers[:2], "-s", str(file))
        for principal in named.stdout.decode("utf-8", "replace").splitlines():
            words = ("-Y", "verify", *signers, "-I", principal, "-n", NAMESPACE, "-s", str(file))
            done = _keygen(*words, text=text)
            if done.returncode == 0:
                return "good", _fingerprint(done.stdout), principal
    done = _keygen("-Y", "check-novalidate", "-n", NAMESPACE, "-s", str(file), text=text)
    if done.returncode == 0:
        return "good", _fingerprint(done.stdout), None
    too_old = _TOO_OLD.search(done.stderr.decode("utf-8", "replace"))
    return "unchecked" if too_old else "bad", None, None


def _fingerprint(told: bytes) -> str | None:
    match = _KEY.search(told.decode("utf-8", "replace"))
    return match[2] if match else None


def _keygen(*words: str, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Ask ssh-keygen something that needs no key of ours. Raises OSError, subprocess.SubprocessError."""
    return subprocess.run(
        ["ssh-keygen", *words], input=text, capture_output=True, check=False, timeout=_PATIENCE_S
    )


def _allowed_signers(workspace: Workspace, environ: Mapping[str, str]) -> list[str]:
    """The options that name git's allowed signers, and the keys it knows to be revoked; [] where none are."""
    allowed = _git(workspace, environ, "--type=path", "gpg.ssh.allowedSignersFile")
    if allowed is None or not (file := workspace.root / allowed).is_file():
        return []
    revoked = _git(workspace, environ, "--type=path", "gpg.ssh.revocationFile")
    return ["-f", str(file), *(["-r", str(workspace.root / revoked)] if revoked else [])]


def _git(workspace: Workspace, environ: Mapping[str, str], *words: str) -> str | None:
    """One of git's settings, as it holds in the working tree; None where there is none, or no git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(workspace.root), "config", *words[:-1], "--get", words[-1]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_PATIENCE_S,
            env=dict(environ),
        )
    except (OSError, subprocess.SubprocessError):
        return None
    text = done.stdout.decode("utf-8", "surrogateescape").rstrip("\n")
    return text if done.returncode == 0 and text else None


# --- signing ------------------------------------------------------------------------------------------------


def unsigned(db: sqlite3.Connection, session: str | None, known: Iterable[Signature]) -> list[Seal]:
    """The last seal of one session, or of each, that no good signature stands for.

    Raises UsageError ERR_NOT_SEALED for a session that was asked for and has no seal.
    """
    seals = last_seals(db, session)
    if session is not None and not seals:
        raise UsageError(
            f"session {session} is not sealed: it has not ended",
            code="ERR_NOT_SEALED",
            hint="sign it when it has ended",
        )
    signed = {(one.session, one.n) for one in known if one.state == "good"}
    return [seal for seal in seals if (seal.session, seal.n) not in signed]


def sign(
    workspace: Workspace, seals: Sequence[Seal], environ: Mapping[str, str], key: Path | None = None
) -> None:
    """Sign seals with the user's SSH key and keep the signatures; ssh-keygen asks for a passphrase itself.

    Raises EnvironmentError ERR_SIGN_KEY, ERR_SIGN_TOOL, ERR_SIGN_FAILED or ERR_STORE_*.
    """
    if key is not None and not key.is_file():
        raise _no_key(f"{key} is no SSH key: there is no such file")
    _must_know_signing()
    with _scratch() as scratch:
        named = str(key.absolute()) if key is not None else _key(workspace, environ, scratch)
        for start in range(0, len(seals), _AT_ONCE):
            _sign(workspace, seals[start : start + _AT_ONCE], environ, named, scratch)


def _sign(
    workspace: Workspace, seals: Sequence[Seal], environ: Mapping[str, str], key: str, scratch: Path
) -> None:
    names = [f"{seal.session}.{seal.n}" for seal in seals]
    for name, seal in zip(names, seals, strict=True):
        (scratch / name).write_bytes(text_of(seal))
    _run_signing(["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", key, *names], environ, scratch)
    try:
        _folder(workspace, is_made=True)
        for name, seal in zip(names, seals, strict=True):
            _keep(_path(workspace, seal.session, seal.n), (scratch / f"{name}.sig").read_bytes())
    except OSError as error:
        raise from_os_error(error, workspace.signatures) from error


def _run_signing(words: Sequence[str], environ: Mapping[str, str], scratch: Path) -> None:
    """With a terminal ssh-keygen asks and speaks there, and takes its time; without one it asks nobody."""
    try:
        terminal: int | None = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        terminal = None
    environment = dict(environ)
    if terminal is None:
        environment = {name: value for name, value in environment.items() if name != "DISPLAY"}
        environment["SSH_ASKPASS_REQUIRE"] = "never"
    try:
        done = subprocess.run(
            words,
            cwd=scratch,
            env=environment,
            stdin=subprocess.DEVNULL if terminal is None else terminal,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if terminal is None else terminal,  # "Confirm user presence" among it
            check=False,
            timeout=_PATIENCE_S if terminal is None else None,
        )
    except subprocess.TimeoutExpired as error:
        raise _failed("ssh-keygen did not answer") from error
    finally:
        if terminal is not None:
            os.close(terminal)
    if done.returncode:
        said = (done.stderr or b"").decode("utf-8", "replace").strip().splitlines()
        raise _failed(f"ssh-keygen did not sign{': ' + said[-1] if said else ''}")


def _must_know_signing() -> None:
    """Raises EnvironmentError ERR_SIGN_TOOL. OpenSSH 8.1 was the first that signs."""
    try:
        told = _keygen("-Y", "sign")  # it lacks a key, which it says only where it knows the option
    except (OSError, subprocess.SubprocessError) as error:
        raise _no_tool("ssh-keygen is not installed") from error
    if _TOO_OLD.search(told.stderr.decode("utf-8", "replace")):
        raise _no_tool("ssh-keygen is too old to sign")


def _key(workspace: Workspace, environ: Mapping[str, str], scratch: Path) -> str:
    """The key that git signs with, else the first of the user's own. Raises EnvironmentError ERR_SIGN_KEY."""
    if _git(workspace, environ, "gpg.format") == "ssh":
        named = _git(workspace, environ, "user.signingKey")
        if named and (named.startswith("key::") or _PUBLIC.match(named)):
            file = scratch / "key.pub"  # the private half is the agent's
            file.write_text(named.removeprefix("key::") + "\n")
            return str(file)
        if named and (path := _git(workspace, environ, "--type=path", "user.signingKey")):
            return str(workspace.root / path)
    folder = Path(environ.get("HOME") or "~").expanduser() / ".ssh"
    for name in _OWN_KEYS:
        for file in (folder / name, folder / f"{name}.pub"):
            if file.is_file():
                return str(file)
    raise _no_key("there is no SSH key to sign with")


def _failed(message: str) -> EnvironmentError:
    return EnvironmentError(
        message,
        code="ERR_SIGN_FAILED",
        hint="a key with a passphrase needs a terminal or an agent (`ssh-add`); --key names another one",
    )


def _no_key(message: str) -> EnvironmentError:
    hint = "name one with --key, or make one with `ssh-keygen -t ed25519`"
    return EnvironmentError(message, code="ERR_SIGN_KEY", hint=hint)


def _no_tool(message: str) -> EnvironmentError:
    return EnvironmentError(message, code="ERR_SIGN_TOOL", hint="install OpenSSH 8.2 or newer")


# --- files --------------------------------------------------------------------------------------------------


def _path(workspace: Workspace, session: str, n: int) -> Path:
    return workspace.signatures / f"{session}.{n}.sig"


def _folder(workspace: Workspace, *, is_made: bool = False) -> Path:
    """Where the signatures are. Raises OSError, EnvironmentError ERR_STORE_UNSAFE for no directory."""
    folder = workspace.signatures
    if is_made and not folder.is_symlink():
        folder.mkdir(mode=0o700, exist_ok=True)
    if not stat.S_ISDIR(folder.lstat().st_mode):
        raise EnvironmentError(
            f"{folder} is a symbolic link or no directory",
            code="ERR_STORE_UNSAFE",
            hint="remove it",
            context={"path": str(folder)},
        )
    return folder


def _read(path: Path) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            return file.read(_SIGNATURE_LIMIT) if stat.S_ISREG(os.fstat(fd).st_mode) else None
    except OSError:
        return None


def _keep(path: Path, content: bytes) -> None:
    """Write a signature whole or not at all. Raises OSError."""
    handle, name = tempfile.mkstemp(dir=path.parent)  # 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="devtrace-") as folder:
        yield Path(folder)
