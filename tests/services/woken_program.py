"""A program that writes its socket into its entry when SIGURG comes: `woken_program.py FOLDER SOCKET`."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

FOLDER, SOCKET = Path(sys.argv[1]), sys.argv[2]
FOLDER.mkdir(exist_ok=True)
ENTRY = FOLDER / str(os.getpid())


def write(address: str) -> None:
    draft = ENTRY.with_suffix(".new")
    draft.write_text(json.dumps({"socket": address}))
    draft.replace(ENTRY)


write("")
signal.signal(signal.SIGURG, lambda *_: write(SOCKET))
sys.stdout.write("ready\n")
sys.stdout.flush()
while True:
    signal.pause()
