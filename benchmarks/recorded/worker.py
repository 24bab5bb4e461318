"""One workload under one tool in a process of its own: `worker.py WORKLOAD TOOL SIZE FOLDER`.

What was measured is left in FOLDER as `measured.json`: seconds of the processor (user and system, all
threads) for the start, the work alone and the stop; the most memory before and after; who listened.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from importlib import import_module
from itertools import pairwise

import tools
import workloads


def main(workload: str, tool: str, size: str, folder: str) -> None:
    """Start, work, stop."""
    known = workloads.WORKLOADS[workload]
    sys.path.insert(1, os.path.join(sys.path[0], "programs"))
    program = import_module(known.module)
    before_kb = most_kb()
    start, stop = tools.TOOLS[tool](tools.Place(folder, program, known.entry))
    moments = [time.process_time()]
    start()
    listening = tools.listeners()
    run = getattr(program, known.run)  # what a tool put in its place
    count = int(size)
    moments.append(time.process_time())
    run(count)
    moments.append(time.process_time())
    stop()
    moments.append(time.process_time())
    start_s, work_s, stop_s = (after - before for before, after in pairwise(moments))
    told = {
        "start_s": start_s,
        "work_s": work_s,
        "stop_s": stop_s,
        "before_kb": before_kb,
        "after_kb": most_kb(),
        "listening": listening,
    }
    with open(os.path.join(folder, "measured.json"), "w") as file:
        json.dump(told, file)


def most_kb() -> int:
    """The most memory that this program had. The kernel's ru_maxrss starts with what its parent had."""
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used // 1024 if sys.platform == "darwin" else used


if __name__ == "__main__":
    main(*sys.argv[1:])
