"""The official conformance suite, run against a server or a client; what each of its checks came to.

    server_checks(url, "2026-07-28", folder)     # {Check("tools-list", "tools-list", "SUCCESS"): 1, ...}

Lives here: starting it, reading the `checks.json` that it writes for each scenario. Not here: the fixtures on
the other side (conformance_server.py, conformance_client.py), what is expected (test_conformance.py).
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.mcp.peers import conformance, run, running

CLIENT = Path(__file__).with_name("conformance_client.py")
ASK = Path(__file__).with_name("conformance_ask.py")
MODERN, LEGACY = "2026-07-28", "2025-11-25"
PASSED = "SUCCESS"
TIMEOUT_MS = 90_000  # of a scenario
# `server-tools-list-2026-11-22T11-55-31-336Z` and `tools_call-2026-...`; auth scenarios are folders deep
_STAMP = re.compile(r"-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-\d{3}Z$")


class Check(NamedTuple):
    """One check of one scenario, and what came of it."""

    scenario: str
    check: str
    status: str


Checks = Counter[Check]  # the same check may be made several times


def server_checks(url: str, revision: str, folder: Path, *, suite: str = "all") -> Checks:
    """Every scenario of that revision for servers, against the one at `url`."""
    out = folder / f"server-{revision}"
    words = ["--url", url, "--suite", suite, "--spec-version", revision, "--output-dir", str(out)]
    return checks(out, conformance("server", *words), folder)


def client_checks(revision: str, folder: Path, *, suite: str = "all", behind_proxy: bool = False) -> Checks:
    """Every scenario of that revision for clients, with our own, which speaks through a proxy where asked."""
    out = folder / f"client-{revision}"
    place = f"client-{revision}.socket"  # short, as the name of a socket has to be
    command = f"{sys.executable} -I -S {ASK} {place}"
    words = ["--command", command, "--suite", suite, "--spec-version", revision]
    words += ["--timeout", str(TIMEOUT_MS), "--output-dir", str(out)]
    more = {"BEHIND_PROXY": "1"} if behind_proxy else {}
    with running([sys.executable, str(CLIENT), place], more, folder) as said:
        said.first(lambda line: line == "ready\n")
        return checks(out, conformance("client", *words), folder)


def checks(out: Path, command: list[str], folder: Path) -> Checks:
    """Run it; what it wrote. Where it wrote nothing, the error is what it said."""
    done = run(command, folder)
    found = Counter(read(out))
    assert found, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return found


def read(out: Path) -> Iterator[Check]:
    """Every check in what it wrote."""
    for file in out.rglob("checks.json"):
        scenario = _STAMP.sub("", str(file.parent.relative_to(out))).removeprefix("server-")
        for check in json.loads(file.read_text()):
            yield Check(scenario, check["id"], check["status"])


def passed(checks: Checks) -> int:
    """How many checks passed."""
    return sum(count for check, count in checks.items() if check.status == PASSED)


def not_passed(checks: Checks) -> list[Check]:
    """Those that failed, or passed with a warning."""
    return sorted(check for check in checks if check.status in ("FAILURE", "WARNING"))
