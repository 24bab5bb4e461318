"""The host has children of its own, such as git, and may be told of their end while ours ends."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

FLOOD = "(i=0; while [ $i -lt 20000 ]; do kill -CHLD $PPID || exit; i=$((i+1)); done) >/dev/null 2>&1 &"
COMMAND = [sys.executable, "-m", "devtrace", "run", "--", "sh", "-c", f"{FLOOD} sleep 0.05; exit 7"]


def test_other_childrens_ends_do_not_hide_the_exit_status_of_a_piped_command() -> None:
    done = subprocess.run(COMMAND, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    assert done.returncode == 7, done.stderr


def test_other_childrens_ends_do_not_hide_the_exit_status_of_a_command_in_a_terminal() -> None:
    outer, inner = pty.openpty()
    try:
        host = subprocess.Popen(
            COMMAND, stdin=inner, stdout=inner, stderr=subprocess.PIPE, start_new_session=True
        )
        _, said = host.communicate()
    finally:
        os.close(inner)
        os.close(outer)

    assert host.returncode == 7, said
