"""The shells that the acceptance tests run in, and what some of them cannot do.

bash, zsh and fish are taken from PATH; DEVTRACE_TEST_SHELLS names more builds of them, as absolute paths with
colons between. A test asks for an ability by name (`@pytest.mark.able("paste")`); ABILITIES says which shells
lack it and why, so that a missing case is always explained in one place.

Lives here: `Kind`, `KINDS`, ABILITIES. Not here: driving a shell (traced.py).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

NAMES = ("bash", "zsh", "fish")


class Kind(NamedTuple):
    """A shell to test; `path` is "" when it is not installed."""

    label: str  # of the test's id: bash, or the file's name for a further build
    name: str  # bash, zsh, fish
    path: str
    version: tuple[int, ...]

    def lacks(self, ability: str) -> str | None:
        """Why this shell does not have the ability; None when it has it."""
        return next((why for missing, why in ABILITIES[ability] if missing(self)), None)


def _bash_before(*version: int) -> Callable[[Kind], bool]:
    return lambda kind: kind.name == "bash" and kind.version < version


def _is(*names: str) -> Callable[[Kind], bool]:
    return lambda kind: kind.name in names


_Missing = tuple[Callable[[Kind], bool], str]

# What a test may ask for: the shells that lack it, and why.
ABILITIES: dict[str, list[_Missing]] = {
    "exact_form": [(_bash_before(4, 4), "without PS0 nothing tells a joined line from a typed one")],
    "joined_lines": [(_bash_before(4, 4), "without PS0 nothing tells how many lines were read")],
    "ps0": [(_bash_before(4, 4), "has no PS0")],
    "starts_of_its_own": [(_bash_before(4, 4), "without PS0 a start is seen by what PROMPT_COMMAND set up")],
    "overwritten_prompt_command": [
        (_bash_before(4, 4), "arms its DEBUG trap in PROMPT_COMMAND, and nothing else ever runs again"),
        (_bash_before(5, 1), "has one PROMPT_COMMAND, so that ends are told by the next start only"),
    ],
    "comments_in_prompt_command": [
        (_bash_before(4, 4), "arms its DEBUG trap in the last words of PROMPT_COMMAND, which a comment hides")
    ],
    "bind_x": [(_bash_before(4, 0), "does not tell its DEBUG trap that a key was pressed")],
    "prompt_arrays": [(_bash_before(5, 1), "runs the first part of an array of prompt commands only")],
    "here_documents": [(_bash_before(4, 0), "its history keeps the first line of a here-document only")],
    "lines_of_the_editor": [(_bash_before(4, 4), "its DEBUG trap is spent on the editor's own commands")],
    "history_switch": [(_bash_before(4, 0), "in a trap it says that the history is off, always")],
    "interrupted_loops": [
        (_bash_before(4, 0), "ends a loop that was interrupted with status 1"),
        (_is("zsh"), "ends a loop that was interrupted with 130 or with 0, as it happens"),
    ],
    "continued_jobs": [
        (_bash_before(4, 4), "bare too, it does not always find the job that has just stopped")
    ],
    "private_text": [
        (_is("bash"), "hands a line to its hooks by the history only, where a private one is not")
    ],
    "long_lines": [(_bash_before(4, 4), "its line editor takes minutes for 100 KB")],
}


@cache
def kinds() -> tuple[Kind, ...]:
    """All shells under test."""
    further = os.environ.get("DEVTRACE_TEST_SHELLS", "").split(":")
    found = [_kind(name, name, shutil.which(name) or "") for name in NAMES]
    for path in filter(None, further):
        label = os.path.basename(path)
        found.append(_kind(label, label.partition("-")[0], path))
    return tuple(found)


def _kind(label: str, name: str, path: str) -> Kind:
    if not path:
        return Kind(label, name, "", ())
    said = subprocess.run([path, "--version"], capture_output=True, check=True, text=True).stdout
    version = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", said)
    assert version is not None, f"{path} --version says {said!r}"
    return Kind(label, name, path, tuple(int(number) for number in version.groups() if number))
