"""The examples of docs/recorder.md run."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from devtrace.recorder import filters
from tests.recorder.recordings import CHECKOUT

PAPER = (CHECKOUT / "docs" / "recorder.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```", PAPER, re.MULTILINE | re.DOTALL)
FILTERS = re.findall(r"^```toml\n(.*?)^```", PAPER, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_an_example_runs(number: int, tmp_path) -> None:
    script = tmp_path / "example.py"
    script.write_text(PROGRAMS[number])
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}

    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("text", FILTERS)
def test_a_filter_of_the_paper_is_one(text: str, tmp_path) -> None:
    file = tmp_path / "filter.toml"
    file.write_text(text)

    found = filters.load(str(file), environ={}, folder=str(tmp_path))

    assert not found.verdict(str(tmp_path / "x.py"), "shop.legacy.old", "f").records
    assert found.verdict(str(tmp_path / "x.py"), "shop.cart", "f").action("arg", "cookies") == "redact"


def test_there_are_examples() -> None:
    assert len(PROGRAMS) >= 4
    assert FILTERS


# What differs from run to run: ids, times, the interpreter, the process, and the blanks that they take.
VOLATILE = re.compile(
    r"\b[0-9a-f]{8}\b|\d[\d.,]*(?:µs|ms|s)\b|python [\d.]+ \(.*?\)|process \d+|~\S+|^when .*$|by \w+$|\s+",
    re.MULTILINE,
)


def alike(text: str) -> str:
    return VOLATILE.sub(" ", text).strip()


def test_the_first_paper_shows_what_is_really_printed(tmp_path) -> None:
    readme = (CHECKOUT / "README.md").read_text()
    (block,) = [
        one for one in re.findall(r"```text\n(.*?)```", readme, re.DOTALL) if "devtrace record" in one
    ]
    asked = re.split(r"^\$ devtrace (.*)\n", block, flags=re.MULTILINE)[1:]
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "cart.py").write_bytes((CHECKOUT / "examples" / "cart.py").read_bytes())

    for command, shown in zip(asked[::2], asked[1::2], strict=True):
        words = [sys.executable, "-m", "devtrace", *command.split()]
        if words[3] == "record":
            words[4:4] = ["--python", sys.executable]
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "HOME": str(tmp_path), "COLUMNS": "110"}
        done = subprocess.run(
            words,
            cwd=shop,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            stdin=subprocess.DEVNULL,
        )
        told = [line for line in done.stdout.splitlines() if not line.startswith("left out")]
        assert alike("\n".join(told)) == alike(shown)


def test_the_example_that_prints_is_shown_line_by_line(tmp_path) -> None:
    (tmp_path / "stdout_script.py").write_bytes((CHECKOUT / "examples" / "stdout_script.py").read_bytes())
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "HOME": str(tmp_path), "PYTHONUNBUFFERED": ""}

    def devtrace(*words: str) -> subprocess.CompletedProcess[bytes]:
        argv = [sys.executable, "-m", "devtrace", *words]
        return subprocess.run(
            argv, cwd=tmp_path, env=environment, capture_output=True, check=True, stdin=subprocess.DEVNULL
        )

    done = devtrace("record", "--python", sys.executable, "stdout_script.py")
    shown = devtrace("show", "--io").stdout.decode()
    raw = devtrace("show", "--io", "--raw", "--stream", "stdout").stdout

    assert raw == done.stdout
    assert done.stdout.endswith(b"bytes, as they are: \xff\n")
    source = (tmp_path / "stdout_script.py").read_text().splitlines()
    for text, code in (("hello, Ana", '"hello,"'), ("the basket is empty", "warning(text)")):
        line = next(number for number, one in enumerate(source, 1) if code in one)
        assert re.search(rf"stdout_script\.py:{line}\b.*{text}", shown), shown
