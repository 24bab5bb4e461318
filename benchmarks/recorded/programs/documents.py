"""JSON and regular expressions: most of the work is the standard library's."""

import json
import re

LINE = re.compile(r"(\S+) (GET|POST) (\S+) (\d{3}) (\d+)ms")
WORD = re.compile(r"[a-z]+")


def documents(count: int) -> int:
    """Parse a log's line, write it as JSON, read that; ten lines a turn."""
    total = 0
    for number in range(count):
        line = f"2026-11-21T10:00:{number % 60:02} GET /items/{number}?page=2 200 {number % 90}ms"
        matched = LINE.match(line)
        at, method, path, status, took = matched.groups()
        record = {"at": at, "method": method, "path": path, "status": int(status), "took_ms": int(took)}
        text = json.dumps(record)
        again = json.loads(text)
        if re.search("/items/[0-9]+", again["path"]):
            total += again["took_ms"]
        total += len(WORD.findall(path))
    return total
