"""A program of the tests: the HTTP proxy in front of a URL, and what it hands to the tap as JSON lines.

    python proxying.py URL FD [NAME:VALUE]...

Where it listens goes to stdout. FD receives [kind, direction, channel, payload] for each record, the payload
as latin-1. The process ends with what `serve` returned.
"""

from __future__ import annotations

import json
import os
import sys

from devtrace.sources.mcp.http import serve


class Tap:
    """Writes each record down at once; nobody reads slowly here."""

    def __init__(self, fd: int):
        self._fd = fd

    def put(self, kind: int, direction: int, channel: int, payload: bytes) -> None:
        line = json.dumps([kind, direction, channel, payload.decode("latin-1")]) + "\n"
        left = line.encode()
        while left:
            left = left[os.write(self._fd, left) :]


def main(url: str, fd: str, *fields: str) -> int:
    pairs = (field.partition(":") for field in fields)
    return serve(
        url,
        port=0,
        tap=Tap(int(fd)),
        extra_headers={name: value for name, _, value in pairs},
        announce=announce,
    )


def announce(at: str) -> None:
    sys.stdout.write(f"{at}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
