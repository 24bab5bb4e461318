"""Errors: one tree, stable codes, a shape for machines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from devtrace import errors

PACKAGE = Path(errors.__file__).parent
USED = re.compile(r"\bERR_[A-Z_]*[A-Z]\b(?!_)")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.UsageError, 2),
        (errors.EnvironmentError, 1),
        (errors.TargetError, 1),
        (errors.InternalError, 3),
    ],
)
def test_each_kind_has_its_exit_status(kind: type[errors.DevTraceError], status: int) -> None:
    assert kind("words", code="ERR_USAGE").exit_status == status


def test_an_error_has_a_form_for_machines() -> None:
    error = errors.UsageError("no such id", code="ERR_ID_UNKNOWN", hint="look", context={"id": "7f"})

    assert error.as_dict() == {
        "error": {
            "kind": "UsageError",
            "code": "ERR_ID_UNKNOWN",
            "message": "no such id",
            "hint": "look",
            "context": {"id": "7f"},
        }
    }


def test_an_error_reads_as_its_message() -> None:
    assert str(errors.TargetError("it did not start", code="ERR_TARGET_START")) == "it did not start"


def test_every_kind_is_drawn_in_the_tree() -> None:
    kinds = {cls.__name__ for cls in errors.DevTraceError.__subclasses__()}

    assert kinds <= set(re.findall(r"\w+", errors.__doc__ or ""))


def test_every_code_in_use_is_in_the_table_and_every_code_of_the_table_is_in_use() -> None:
    files = [file for file in PACKAGE.rglob("*.py") if file != PACKAGE / "errors.py"]
    used = {code for file in files for code in USED.findall(file.read_text(encoding="utf-8"))}

    assert used == set(errors.CODES)
