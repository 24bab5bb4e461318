"""ddtrace's Dynamic Instrumentation: its probe file, an agent that it believes in, and how it begins.

Lives here: what both sides need, the process that is measured and the one that measures. Not here: the clock
(worker.py), the processes (benchmarks/probes.py). Standard library only where it is measured.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.probed import variants

PROBES = "probes.json"
_SETTLE_S = 0.1
_ENDPOINTS = ("/v0.5/traces", "/debugger/v1/input", "/debugger/v2/input", "/debugger/v1/diagnostics")


def begun(_folder: Path) -> tuple[Callable[[], Any], Callable[[], None], Callable[[bool], None]]:
    """How it begins, a while for its queue, and whether it did what it was told to."""

    def begin() -> None:
        from ddtrace.internal.settings.dynamic_instrumentation import config

        config.global_rate_limit = float(variants.MANY)  # of snapshots of the whole process, as for ours
        import ddtrace.auto  # noqa: F401 - importing it is its way to begin

    return begin, lambda: time.sleep(_SETTLE_S), _check  # its queue tells nobody that it is empty


def _check(is_wanted: bool) -> None:
    from ddtrace.debugging._debugger import Debugger

    debugger = Debugger._instance
    if debugger is None:
        raise SystemExit("Dynamic Instrumentation did not begin")
    installed = [entry.installed for entry in debugger._probe_registry.values()]
    if is_wanted and not (installed and all(installed)):
        raise SystemExit("the probe was not installed")


def environment(folder: Path, port: int) -> dict[str, str]:
    """What it is told by."""
    return {
        "DD_DYNAMIC_INSTRUMENTATION_ENABLED": "1",
        "DD_DYNAMIC_INSTRUMENTATION_PROBE_FILE": str(folder / PROBES),
        "DD_DYNAMIC_INSTRUMENTATION_UPLOAD_INTERVAL_SECONDS": "0.05",
        "DD_TRACE_AGENT_URL": f"http://127.0.0.1:{port}",
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "0",
        "DD_REMOTE_CONFIGURATION_ENABLED": "0",
        "DD_SERVICE": "hot",
    }


def wanted(variant: variants.Variant, places: list[variants.Place]) -> list[dict[str, Any]]:
    """The probe file: a probe for each place that has a line."""
    return [_probe(variant, place) for place in places if place.line]


def _probe(variant: variants.Variant, place: variants.Place) -> dict[str, Any]:
    told: dict[str, Any] = {
        "id": place.module,
        "version": 1,
        "type": "LOG_PROBE",
        "language": "python",
        "where": {"sourceFile": str(place.file), "lines": [str(place.line)]},
        "sampling": {"snapshotsPerSecond": variant.rate},
        "template": variants.message_text(variant),
        "segments": [_segment(field) for field in variant.fields],
        "captureSnapshot": not variant.fields,
        "capture": {
            "maxReferenceDepth": 3,
            "maxCollectionSize": 100,
            "maxLength": 1024,
            "maxFieldCount": 100,
        },
        "tags": [],
    }
    if variant.condition:
        name, *attributes = variant.condition
        value: Any = {"ref": name}
        for attribute in attributes:
            value = {"getmember": [value, attribute]}
        told["when"] = {"dsl": variants.condition_text(variant), "json": {"gt": [value, 100]}}
    return told


def _segment(field: str) -> dict[str, Any]:
    return {"dsl": field, "json": {"ref": field}}


class Agent:
    """What it sends to: takes all, and counts the bytes of what its probes told."""

    def __init__(self, port: int):
        self.port = port
        self.bytes = 0

    def take(self, path: str, body: bytes) -> None:
        """One request."""
        self.bytes += len(body) if "input" in path else 0


@contextmanager
def listening() -> Iterator[Agent]:
    """An agent on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            agent.take(self.path, b"".join(self._parts()))
            told = json.dumps({"endpoints": _ENDPOINTS} if self.path == "/info" else {}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def _parts(self) -> Iterator[bytes]:
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                yield self.rfile.read(int(self.headers.get("Content-Length") or 0))
                return
            while size := int(self.rfile.readline() or b"0", 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()

        do_GET = do_POST = do_PUT = _answer

        def log_message(self, *_: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        agent = Agent(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield agent
        finally:
            server.shutdown()
            thread.join()
