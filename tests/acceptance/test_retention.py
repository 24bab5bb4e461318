"""When a session has ended, what is older than the settings say goes, and nobody waits for it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from devtrace.ids import new_session_id
from devtrace.query.verify import verify
from devtrace.store import sessions
from devtrace.store.append import append
from devtrace.store.connection import open_store
from devtrace.workspace import Workspace, create
from tests.processes import DEADLINE, environment
from tests.store.frames import begin, count, frame

LONG_AGO_US = 1_700_000_000_000_000


def devtrace(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "devtrace", *words]
    return subprocess.run(
        command, env=environment(), capture_output=True, text=True, check=True, timeout=DEADLINE
    )


def test_old_events_are_pruned_behind_the_back_of_who_has_his_prompt_again() -> None:
    workspace = Workspace(Path.cwd() / ".devtrace")
    create(workspace)
    with closing(open_store(workspace, create=True)) as db:
        old = begin(db, new_session_id(), started_us=LONG_AGO_US)
        times = {"started_us": LONG_AGO_US, "ended_us": LONG_AGO_US + 1}
        append(db, [frame("make", old, blobs={"output": os.urandom(5_000)}, **times) for _ in range(500)])
        sessions.end(db, old, ended_us=LONG_AGO_US + 1, status="ended", exit_code=0)
        devtrace("config", "set", "retention.days", "30")

        devtrace("run", "--", "true")  # its output is read to its end: nobody holds the pipe open

        until = time.monotonic() + DEADLINE
        while count(db, "pruned") < 500:
            assert time.monotonic() < until
        (kept,) = db.execute("SELECT id FROM sessions WHERE id <> ?", (old,)).fetchone()
        left = db.execute("SELECT kind FROM events WHERE session = ?", (kept,)).fetchall()
        assert left == [("run_command",)]
        while verify(db).findings:  # the last step may be under way
            assert time.monotonic() < until


def test_without_settings_nothing_is_begun() -> None:
    devtrace("run", "--", "true")

    assert not (Path.cwd() / ".devtrace" / "run" / "retention").exists()
