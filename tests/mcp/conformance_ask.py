"""What the conformance suite starts as its client: it has the work done by conformance_client.py, which runs.

    python -I -S conformance_ask.py SOCKET URL

A client that imports the SDK anew for each of sixty scenarios would spend a minute with that.
"""

from __future__ import annotations

import json
import os
import socket
import sys


def main(place: str, url: str) -> int:
    """Ask; the client's exit status."""
    asked = {
        "url": url,
        "environ": {name: value for name, value in os.environ.items() if name.startswith("MCP_")},
    }
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(place)
        client.sendall(json.dumps(asked).encode() + b"\n")
        answer = client.makefile("rb").read()
    sys.stderr.write(answer.decode("utf-8", "replace"))
    return int(answer.split()[-1]) if answer.split() else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
