"""What is typed at `probe add`: which file is meant, what is refused, how times and rates are written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from devtrace.errors import UsageError
from devtrace.probes.fields import Refused
from devtrace.services.probe_asked import Asked, grammar, point_of, rate, seconds

TEXT = "class A:\n    def run(self):\n        # here\n        return 1\n\n\ndef load():\n    return 2\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with `app/jobs.py`, and `util.py` in two folders."""
    for name in ("app/jobs.py", "app/util.py", "web/util.py", ".venv/only.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(TEXT)
    return Path(os.path.realpath(tmp_path))


def made(tree: Path, location: str, here: str = ".", **more: Any) -> Any:
    return point_of(Asked(location, **more), tree / here, tree, grammar())


def refusal(tree: Path, location: str, **more: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        made(tree, location, **more)
    return caught.value


# --- the file ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "here"),
    [("app/jobs.py:4", "."), ("jobs.py:4", "app"), ("app/jobs.py:4", "web"), ("jobs.py:4", "."),
     ("../app/jobs.py:4", "web"), ("app\\jobs.py:4", ".")],
)  # fmt: skip
def test_a_file_is_found_from_here_from_the_root_and_by_its_end(tree, location, here):
    point, is_nowhere = made(tree, location, here)

    assert (point.file, point.line, is_nowhere) == (str(tree / "app/jobs.py"), 4, False)


def test_an_end_that_several_files_have_lists_them(tree):
    refused = refusal(tree, "util.py:4")

    assert refused.code == "AMBIGUOUS_FILE"
    assert refused.details["candidates"] == [str(tree / "app/util.py"), str(tree / "web/util.py")]


@pytest.mark.parametrize("location", ["nobody.py:4", "only.py:4", "/nobody/nowhere.py:4"])
def test_a_file_that_is_on_no_disk_is_left_to_the_programs(tree, location):
    point, is_nowhere = made(tree, location)

    assert (f"{point.file}:{point.line}", is_nowhere) == (location, True)


def test_a_mapped_file_is_named_as_the_program_has_it_and_checked_as_it_is_here(tree):
    point, is_nowhere = made(tree, "app/jobs.py:4", maps=["app=/srv/app"])

    assert (point.file, is_nowhere) == ("/srv/app/jobs.py", False)
    assert refusal(tree, "app/jobs.py:3", maps=["app=/srv/app"]).code == "INVALID_LINE"


@pytest.mark.parametrize(
    "location", ["app.jobs:load", "app.jobs:A.run@exit", "app.jobs:4", "nobody.at_all:load"]
)
def test_a_module_stays_the_programs_to_find(tree, location):
    point, is_nowhere = made(tree, location)

    assert (point.settings["location"], point.file, is_nowhere) == (location, None, False)


def test_a_function_of_a_file_is_named_with_its_whole_path(tree):
    assert made(tree, "app/jobs.py:A.run@exit").point.settings["location"] == (
        f"{tree}/app/jobs.py:A.run@exit"
    )


# --- what is refused --------------------------------------------------------------------------------------


def test_a_line_without_code_names_the_nearest(tree):
    refused = refusal(tree, "app/jobs.py:3")

    assert (refused.code, refused.message) == ("INVALID_LINE", "line 3 is a comment; try 2 or 4")
    assert refused.details == {"line": 3, "nearest": [2, 4]}
    assert made(tree, "app/jobs.py:3", nearest=True).point.settings["nearest"]


def test_a_function_that_is_not_there_names_those_of_that_name(tree):
    refused = refusal(tree, "app.jobs:run")

    assert refused.code == "FUNCTION_NOT_FOUND"
    assert refused.message == f"{tree}/app/jobs.py defines no run; there is A.run"


@pytest.mark.parametrize(
    "location", ["app/jobs.py:3", "app/jobs.py:99", "app/jobs.py:run", "app/jobs.py:B.x"]
)
def test_a_place_is_refused_here_as_a_program_refuses_it(tree, location):
    from devtrace.probes.locations import parse_location
    from devtrace.probes.places import resolve

    with pytest.raises(Refused) as caught:
        resolve(parse_location(f"{tree}/{location}"))

    here, there = refusal(tree, location), caught.value
    assert (here.status, here.code, here.message, here.details) == (
        there.status,
        there.code,
        there.message,
        there.details,
    )


def test_the_texts_are_refused_before_the_place_is_looked_for(tree):
    assert refusal(tree, "nobody", condition="a b").code == "INVALID_CONDITION"


def test_a_text_that_holds_a_secret_is_refused(tree):
    secret = grammar(lambda text: "ghp_" in text)

    with pytest.raises(Refused) as caught:
        point_of(Asked("app/jobs.py:4", condition="x == 'ghp_1'"), tree, tree, secret)

    assert caught.value.code == "HIDDEN_VALUE"


def test_a_file_that_our_python_cannot_read_is_not_judged(tree):
    (tree / "app/jobs.py").write_text("this is no Python\n")

    assert made(tree, "app/jobs.py:1").point.line == 1


# --- options ----------------------------------------------------------------------------------------------


def test_the_options_are_the_documented_fields(tree):
    point = made(
        tree, "app/jobs.py:4", condition="x > 1", log="{x}", watch=["x"], hit=">=5", rate="10/s:5",
        max_hits=3, ttl="90s", tags=["a"], depth=1, properties=2, string=3,
    ).point  # fmt: skip

    settings = point.settings
    assert (point.kind, point.message, point.tags) == ("logpoint", "{x}", ("a",))
    assert (settings["condition"], settings["hitCondition"], settings["maxHits"]) == ("x > 1", ">=5", 3)
    assert settings["rateLimit"] == {"limitPerSecond": 10, "burst": 5}
    assert settings["snapshot"] | {"maxFrames": 0} == {
        "maxDepth": 1, "maxProperties": 2, "maxStringLength": 3, "maxFrames": 0,
    }  # fmt: skip
    assert point.expires_ns - point.created_ns == 90_000_000_000


def test_without_a_message_it_is_a_tracepoint_with_the_documented_defaults(tree):
    settings = made(tree, "app/jobs.py:4").point.settings

    assert settings["rateLimit"] == {"limitPerSecond": 10, "burst": 1}
    assert settings["ttlSeconds"] == 3600


@pytest.mark.parametrize(
    ("text", "told"), [("90s", 90), ("15m", 900), ("1h30m", 5400), ("2d", 172_800), ("0.5h", 1800), ("7", 7)]
)
def test_a_time_is_written_with_its_units(text, told):
    assert seconds(text) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [("10/s", {"limitPerSecond": 10}), ("10", {"limitPerSecond": 10}), ("30/m", {"limitPerSecond": 0.5}),
     ("0.5/s:2", {"limitPerSecond": 0.5, "burst": 2})],
)  # fmt: skip
def test_a_rate_is_written_by_the_second_or_another_unit(text, told):
    assert rate(text) == told


@pytest.mark.parametrize(
    "given",
    [{"rate": "9" * 400}, {"rate": "0/s"}, {"rate": "1/s:0"}, {"ttl": "0"}, {"ttl": "9" * 400},
     {"max_hits": -1}, {"depth": -1}, {"properties": -1}, {"string": -1}, {"string": 10**30}],
    ids=lambda given: next(iter(given)),
)  # fmt: skip
def test_a_number_that_is_no_limit_is_refused(tree, given):
    assert refusal(tree, "app/jobs.py:4", **given).code == "INVALID_FIELD"


@pytest.mark.parametrize("text", ["", "h", "1 day", "-5s", "1e9", "nan", "inf", "-1"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(UsageError, match="--ttl"):
        seconds(text)


@pytest.mark.parametrize(
    "text", ["", "10/y", "a/s", "10/s:", ":5", "-1/s", "nan", "inf/s", "\u0661/s", "10/s:" + "9" * 5000]
)
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(UsageError, match="--rate"):
        rate(text)
