"""Where a block ends in the midst of a call: the next one says what is at work, the call once."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.interpreters import recordable
from tests.processes import DEADLINE, environment

PROGRAM = """
import json, os, sys, tempfile
from pathlib import Path
from devtrace.recorder import api
from devtrace.store.trace.replay import Replay
from devtrace.store.trace.segments import read_blocks


def leaf(n):
    return n


def steps():
    at = 0
    while True:
        at = at + 1
        yield at


def work(pad):
    for _ in range(pad):
        pad = pad
    going = steps()
    for n in range(1500):
        leaf(n)
        next(going)


told = []
for pad in range(16):
    with tempfile.TemporaryDirectory() as folder:
        api.start(folder, only=[__file__])
        work(pad)
        api.stop()
        (segment,) = Path(folder).glob("*.seg")
        replay, depths, frames = Replay(), {}, set()
        blocks = read_blocks(segment.read_bytes())
        for block in blocks:
            for event in replay.feed(block):
                name = replay.functions[event.frame.function].name
                depths.setdefault(name, set()).add(event.depth)
                if name == "steps":
                    frames.add(id(event.frame))
                    last = event.frame.variables.get("at")
        told.append([len(blocks), {name: sorted(one) for name, one in depths.items()}, len(frames), last])
json.dump(told, sys.stdout)
"""


@pytest.mark.parametrize("version", sorted(recordable()))
def test_a_call_at_the_end_of_a_block_is_one_call_at_its_depth(tmp_path: Path, version: str):
    file = tmp_path / "ends.py"
    file.write_text(PROGRAM)
    done = subprocess.run(
        [recordable()[version], str(file)],
        env=environment(),
        capture_output=True,
        timeout=DEADLINE,
        check=True,
    )

    for n_blocks, depths, n_frames, last in json.loads(done.stdout):
        assert n_blocks > 2
        assert (depths["work"], depths["leaf"]) == ([1], [2])
        assert depths["steps"][-1] == 2  # 1, too: it is closed when its caller has gone
        assert (n_frames, last) == (1, 1500)
