"""What an agent waits for at each of its hooks: our process beside the least that a Python hook can be.

They take turns, each with the same payload on its standard input, in a repository with a store. Ours is
started as `devtrace agent install` registers it; the peer as a person would write one: it reads its payload
as JSON and ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

from benchmarks import Row
from benchmarks.prompt import row

HOOK = Path(__file__).parents[1] / "devtrace" / "services" / "agent_hook.py"
CALL = {
    "session_id": "e35eb547-d670-46b0-8b78-17e533428062", "prompt_id": "91fa3690-a334-468c-8904-1346738fa143",
    "hook_event_name": "PostToolUse", "tool_name": "Edit", "tool_use_id": "toolu_01",
    "tool_input": {"file_path": "/repo/shop.py", "old_string": "total = 0\n", "new_string": "total = 1\n"},
    "tool_response": {"filePath": "/repo/shop.py", "userModified": False, "structuredPatch": []},
}  # fmt: skip


def measure(*, quick: bool = False) -> list[Row]:
    """The median and the 95th percentile of a hook's process, from its start to its end."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        environment = {"PATH": os.environ["PATH"], "HOME": name}
        subprocess.run(["git", "init", "-q", "."], cwd=place, env=environment, check=True)
        subprocess.run(
            [sys.executable, "-m", "devtrace", "init"],
            cwd=place, env=environment, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        python = os.path.realpath(sys.executable)
        contenders = {
            "ours": [python, "-I", "-S", str(HOOK), "claude-code", "PostToolUse"],
            "a bare Python hook": [python, "-c", "import json, sys; json.load(sys.stdin)"],
        }
        payload = json.dumps({**CALL, "cwd": str(place)}).encode()
        times: dict[str, list[float]] = {contender: [] for contender in contenders}
        for _ in range(20 if quick else 100):
            for contender, argv in contenders.items():
                start = time.perf_counter()
                subprocess.run(argv, input=payload, cwd=place, env=environment, check=True)
                times[contender].append(1_000 * (time.perf_counter() - start))
    ours, peer = times["ours"], times["a bare Python hook"]
    return [
        row("an agent's hook, median", median(ours), "a bare Python hook", median(peer)),
        row("an agent's hook, P95", _p95(ours), "a bare Python hook", _p95(peer), budget="<= 40 ms"),
    ]


def _p95(values: list[float]) -> float:
    return quantiles(values, n=20)[-1]
