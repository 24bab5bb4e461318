"""A stdio MCP server that does what is legal, what is seen in the wild, and what nobody should do.

    python -S nasty_server.py REPORT [HABIT ...]

What it does to one message is a tool: `tools/call` with the tool's name. What it does as a process is a
habit. What it saw goes to REPORT, one JSON array a line, so that it is known even when its output is not:
`["line", text]` for each line (bytes as latin-1), `["signal", name]`, `["eof"]`, `["epipe"]`, and at its end
`["signals", how many were caught, and 1]`, `["read", bytes, sha256]`.

Standard library only and no package of ours: it is started some hundred times, and is what a proxy is put
in front of. Not here: who talks to it (nasty_client.py), what is expected (test_stdio_*.py).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import select
import signal
import sys
from collections.abc import Callable
from typing import Any

CHUNK = 65_536
FIRST_WORDS = 1_000_000  # bytes that "talks-first" writes before it reads
FLOOD = 32_000_000  # bytes that "floods" would write if somebody read them
STUCK_MS = 400  # so long no byte goes: nobody reads
NUMBERS = (
    b'{"jsonrpc":"2.0","id":%s,"result":{"content":[],"structuredContent":{"huge":18446744073709551617,'
    b'"beyond":-1e400,"one":1,"one_point":1.0,"tiny":5e-324,"exp":1E+2,"minus_zero":-0.0,"esc":"\\u00e9\\/"}}}\n'
)
VENDOR = (
    b' { "x-vendor" : {"z":1,"a":[ ] , "a":2} ,\t"result":{"content":[],"_meta":{"io.x/y":null}}, '
    b'"id" : %s ,"jsonrpc":"2.0" } \n'
)
GARBAGE = (
    b"this is no JSON\n", b"\n", b"\r\n", b'{"jsonrpc":"2.0"\n', b"[]\n", b"null\n", b"\x00\x00\n",
    b'{"jsonrpc":"2.0","method":"x","params":"\xff\xfe\xc3"}\n', b"\xef\xbb\xbf{}\n",
    b'{"jsonrpc":"2.0","method":"crlf"}\r\n', b'{"jsonrpc":"2.0","method":"lone\\ud800"}\n',
)  # fmt: skip


class Nasty:
    """One run of the server."""

    def __init__(self, report: str, habits: list[str]):
        self.report = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.habits = habits
        self.read = 0
        self.digest = hashlib.sha256()
        self.rest = b""
        self.waiting: dict[str, Any] = {}  # ids of calls that are answered when they are cancelled
        self.asking: list[Any] = []  # the id of the call, then what was answered to our requests
        self.status = 0

    # --- the process ----------------------------------------------------------------------------------------

    def tell(self, *fact: Any) -> None:
        """Into the report."""
        os.write(self.report, json.dumps(fact).encode() + b"\n")

    def run(self) -> int:
        caught = self.signals()
        try:
            for habit in self.habits:
                HABITS.get(habit, Nasty.no_habit)(self)
            while data := _read():
                self.take(data)
            self.tell("eof")
            if self.rest:
                self.line(self.rest)
            if "last-words" in self.habits:
                self.write(b'{"jsonrpc":"2.0","method":"last/words"}')
        except BrokenPipeError:
            self.tell("epipe")
            self.status = 3
        self.tell("signals", len(os.read(caught, CHUNK)))
        self.tell("read", self.read, self.digest.hexdigest())
        return self.status

    def signals(self) -> int:
        """As a program in C has them; whoever has `notes-SIGTERM` ends on it, who has `deaf-SIGTERM` not.

        Returns the end of a pipe with a byte for each that was caught: two of a kind may be one to Python.
        """
        caught, catching = os.pipe()
        os.write(catching, b"-")
        os.set_blocking(catching, False)
        signal.set_wakeup_fd(catching)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        for habit in self.habits:
            how, _, name = habit.partition("-")
            if how in ("notes", "deaf"):
                signal.signal(getattr(signal, name), self.signalled)
        return caught

    def signalled(self, number: int, _frame: object) -> None:
        name = signal.Signals(number).name
        self.tell("signal", name)
        if f"notes-{name}" in self.habits:
            os._exit(30 + number)
        self.write(b'{"jsonrpc":"2.0","method":"deaf"}\n')

    def no_habit(self) -> None:
        """One that is asked for at its place."""

    def talks_first(self) -> None:
        """A megabyte before the first byte is read; then it waits for as much."""
        line = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"' + b"m" * 920 + b'"}}\n'
        self.write(line * (FIRST_WORDS // len(line)))

    def floods(self) -> None:
        """Writes until nobody takes it, and tells how much went."""
        os.set_blocking(1, False)
        poll, gone = select.poll(), 0
        poll.register(1, select.POLLOUT)
        while gone < FLOOD and poll.poll(STUCK_MS):
            gone += os.write(1, b"f" * 4096)
        os.set_blocking(1, True)
        self.tell("flooded", gone)
        self.write(b"\n" + _message(method="flood", params={"gone": gone}))

    def leaves_a_grandchild(self) -> None:
        """It holds our standard output, and ends when the pipe to it does: when whoever reads it says so."""
        end = os.open(os.environ["NASTY_HOLD"], os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(end, True)
        if os.fork() == 0:
            select.select([end], [], [])
            self.write(b'{"jsonrpc":"2.0","method":"grandchild/words"}\n')
            os._exit(0)

    # --- bytes ----------------------------------------------------------------------------------------------

    def take(self, data: bytes) -> None:
        self.read += len(data)
        self.digest.update(data)
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.line(line)

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(1, view) :]
            except BlockingIOError:
                select.select([], [1], [])

    def pieces(self, data: bytes, size: int) -> None:
        """Each by a write of its own that no reader gets joined with the next: a pipe in packet mode."""
        flags = fcntl.fcntl(1, fcntl.F_GETFL)
        fcntl.fcntl(1, fcntl.F_SETFL, flags | getattr(os, "O_DIRECT", 0))
        for start in range(0, len(data), size):
            self.write(data[start : start + size])
        fcntl.fcntl(1, fcntl.F_SETFL, flags)

    def say(self, **message: Any) -> None:
        self.write(_message(**message))

    # --- messages -------------------------------------------------------------------------------------------

    def line(self, line: bytes) -> None:
        if "reports-lines" in self.habits:
            self.tell("line", line.decode("latin-1"))
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return
        if isinstance(message, list):
            asked = [one for one in message if isinstance(one, dict) and "id" in one]
            answers = [_answer(one["id"], text=str(one.get("method"))) for one in asked]
            self.write(json.dumps(answers).encode() + b"\n")
        elif isinstance(message, dict):
            self.message(message, line)

    def message(self, message: dict[str, Any], line: bytes) -> None:
        method, params = message.get("method"), message.get("params") or {}
        if method is None:
            self.answered(message)
        elif method == "notifications/cancelled":
            self.cancelled(params)
        elif "id" not in message:
            return
        elif method == "initialize":
            self.initialize(message["id"], params)
        elif method == "tools/list":
            tools = [{"name": name, "inputSchema": {"type": "object"}} for name in sorted(TOOLS)]
            self.say(id=message["id"], result={"tools": tools})
        elif method == "tools/call":
            TOOLS[params["name"]](self, message["id"], params, line)
        elif method != "server/discover":  # which it does not know, and is silent about
            error = {"code": -32601, "message": "Method not found", "data": {"method": method}}
            self.say(id=message["id"], error=error)

    def initialize(self, id: Any, params: dict[str, Any]) -> None:
        """A notification before the result, as server-everything does."""
        self.say(method="notifications/tools/list_changed")
        info = {"name": "nasty", "version": "0", "x-vendor": True}
        told = {"protocolVersion": params.get("protocolVersion"), "capabilities": {"tools": {}}}
        self.say(id=id, result={**told, "serverInfo": info})

    def answered(self, message: dict[str, Any]) -> None:
        """To what `ask` asked; all of it is the answer of the call."""
        if self.asking:
            self.asking.append(message.get("result", message.get("error")))
            if len(self.asking) == 4:
                call, *answers = self.asking
                self.asking = []
                self.say(**_answer(call, text=json.dumps(answers)))

    def cancelled(self, params: dict[str, Any]) -> None:
        """The answer that comes all the same."""
        id = self.waiting.pop(json.dumps(params.get("requestId")), None)
        if id is not None:
            self.say(**_answer(id, text="too late"))

    # --- tools ----------------------------------------------------------------------------------------------

    def echo(self, id: Any, params: dict[str, Any], line: bytes) -> None:
        self.say(**_answer(id, text=line.decode("latin-1")))

    def numbers(self, id: Any, params: dict[str, Any], line: bytes) -> None:
        self.write(NUMBERS % json.dumps(id).encode())

    def vendor(self, id: Any, params: dict[str, Any], line: bytes) -> None:
        self.write(VENDOR % json.dumps(id).encode())

    def large(self, id: Any, params: dict[str, Any], line: bytes) -> None:
        self.say(**_answer(id, text="x" * params["arguments"]["bytes"]))

    def raw(self, id: Any, params: dict[str, Any], line: bytes) -> None:
        """Any bytes, in pieces of any size, before the answer."""
        given = params["arguments"]
        self.pieces(bytes.fromhex(given["hex"]), given["piece"])
        self.say(**_answer(id, text="written"))

    def slow(self, id: Any, params: dict[str, Any], line: bytes) -> None:
        self.waiting[json.dumps(id)] = id

    def fail(self, id: Any, params: dict[str, Any], line: bytes) -> None:
        self.say(id=id, error={"code": -32099, "message": "No luck", "data": {"deep": [1, {"x": None}]}})

    def broken(self, id: Any, params: dict[str, Any], line: bytes) -> None:
        self.say(id=id, result={"content": [{"type": "text", "text": "It broke"}], "isError": True})

    def ask(self, id: Any, params: dict[str, Any], line: bytes) -> None:
        """Three requests of its own, the first with the id of the call that they are for."""
        self.asking = [id]
        self.say(id=id, method="sampling/createMessage", params={"messages": [], "maxTokens": 1})
        self.say(id=0, method="elicitation/create", params={"message": "Who?", "requestedSchema": {}})
        self.say(id="0", method="roots/list")

    def progress(self, id: Any, params: dict[str, Any], line: bytes) -> None:
        token = params["_meta"]["progressToken"]
        for done in range(3):
            told = {"progressToken": token, "progress": done, "total": 2, "message": f"{done} of 2"}
            self.say(method="notifications/progress", params=told)
        self.say(**_answer(id, text="done"))

    def twice(self, id: Any, params: dict[str, Any], line: bytes) -> None:
        self.say(**_answer(id, text="once"))
        self.say(**_answer(id, text="twice"))

    def stray(self, id: Any, params: dict[str, Any], line: bytes) -> None:
        """Answers that nobody waits for, and things that nobody knows."""
        self.say(**_answer(424242, text="who asked?"))
        self.say(id=None, error={"code": -32700, "message": "Parse error"})
        self.say(id="unknown", method="vendor/ask", params=[1, 2])
        self.say(method="vendor/notify", params={"x": 1})
        self.say(**_answer(id, text="stray"))

    def garbage(self, id: Any, params: dict[str, Any], line: bytes) -> None:
        for one in GARBAGE:
            self.write(one)
        self.say(**_answer(id, text="after it"))

    def mutter(self, id: Any, params: dict[str, Any], line: bytes) -> None:
        """On both outputs by turns; the other one is no UTF-8 and no line."""
        for number in range(3):
            os.write(2, b"\x1b[31m\xffmuttered %d\r" % number)
            self.say(method="notifications/message", params={"data": number})
        self.say(**_answer(id, text="muttered"))

    def leave(self, id: Any, params: dict[str, Any], line: bytes) -> None:
        """At once, and without an answer."""
        given = params["arguments"]
        self.tell("read", self.read, self.digest.hexdigest())
        if "signal" in given:
            if given["signal"] != signal.SIGKILL:
                signal.signal(given["signal"], signal.SIG_DFL)
            os.kill(os.getpid(), given["signal"])
        os._exit(given["status"])

    def hush(self, id: Any, params: dict[str, Any], line: bytes) -> None:
        """The answer, and nothing any more; it reads on, and ends with 5."""
        self.say(**_answer(id, text="hushed"))
        os.close(1)
        self.status = 5

    def world(self, id: Any, params: dict[str, Any], line: bytes) -> None:
        """Where it finds itself."""
        self.say(id=id, result={"content": [], "structuredContent": _world()})

    def greet(self, id: Any, params: dict[str, Any], line: bytes) -> None:
        """2026-07-28: asks for what it needs by its result, and is called again with another id."""
        answers, state = params.get("inputResponses"), params.get("requestState")
        if answers is None or state != "état 1":
            asked = {"method": "elicitation/create", "params": {"message": "Who?", "requestedSchema": {}}}
            told = {"resultType": "input_required", "inputRequests": {"who": asked}, "requestState": "état 1"}
            self.say(id=id, result=told)
        else:
            name = answers["who"]["content"]["name"]
            self.say(id=id, result={**_answer(id, text=f"Hello {name}")["result"], "resultType": "complete"})


HABITS: dict[str, Callable[[Nasty], None]] = {
    "talks-first": Nasty.talks_first,
    "floods": Nasty.floods,
    "leaves-a-grandchild": Nasty.leaves_a_grandchild,
}
TOOLS: dict[str, Callable[[Nasty, Any, dict[str, Any], bytes], None]] = {
    "echo": Nasty.echo, "numbers": Nasty.numbers, "vendor": Nasty.vendor, "large": Nasty.large,
    "raw": Nasty.raw, "slow": Nasty.slow, "fail": Nasty.fail, "broken": Nasty.broken, "ask": Nasty.ask,
    "progress": Nasty.progress, "twice": Nasty.twice, "stray": Nasty.stray, "garbage": Nasty.garbage,
    "mutter": Nasty.mutter, "leave": Nasty.leave, "hush": Nasty.hush, "world": Nasty.world,
    "greet": Nasty.greet,
}  # fmt: skip


def _read() -> bytes:
    """What has come; somebody may have made our standard input one that does not wait."""
    while True:
        try:
            return os.read(0, CHUNK)
        except BlockingIOError:
            select.select([0], [], [])


def _message(**message: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode() + b"\n"


def _answer(id: Any, *, text: str) -> dict[str, Any]:
    return {"id": id, "result": {"content": [{"type": "text", "text": text}]}}


def _world() -> dict[str, Any]:
    """The environment as it was handed over, before Python touched it; what /proc has, only where it is."""
    try:
        with open("/proc/self/environ", "rb") as file:
            environ = sorted(file.read().decode("latin-1").split("\0"))
        descriptors = sorted(int(name) for name in os.listdir("/proc/self/fd"))
    except OSError:
        environ, descriptors = sorted(f"{name}={value}" for name, value in os.environ.items()), []
    mask = os.umask(0o77)
    os.umask(mask)
    return {
        "argv": sys.argv[2:], "cwd": os.getcwd(), "environ": environ, "descriptors": descriptors,
        "umask": mask,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(Nasty(sys.argv[1], sys.argv[2:]).run())
