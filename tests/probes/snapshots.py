"""Values, and an encoder with what its tests say by default: for the tests of snapshots."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from typing import NamedTuple

from devtrace.probes.snapshot import Encoder, SnapshotLimits, hides_name

HERE = __name__  # the module of the classes below
TOKEN = "ghp_" + "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF3hJ6"
CUT = "__tpd_truncated__"
LEFT = "__tpd_remaining__"


def encoder(
    redact=str, callback=None, hides=hides_name, learn=None, hides_type=None, clock=lambda: 0, **more
):
    return Encoder(
        SnapshotLimits(**more), redact, hides, callback, learn=learn, hides_type=hides_type, clock=clock
    )


def form(value, **more):
    """What a value is told as; and it is JSON."""
    told = encoder(**more).encode(value)
    assert json.loads(json.dumps(told)) == told
    return told


def typed(type_name, /, **more):
    return {"__tpd_type__": type_name, **more}


class Colour(enum.Enum):
    RED = "r"


class Flags(enum.IntFlag):
    ONE = 1
    TWO = 2


@dataclass
class Point:
    left: int
    name: str = "p"


@dataclass(slots=True)
class Narrow:
    left: int


class Pair(NamedTuple):
    one: int
    two: str


class Text(str):
    __slots__ = ()


class Names(list):
    owner = None


class Own(Exception):
    pass


class User:
    def __init__(self, **fields):
        vars(self).update(fields)


class Slotted:
    __slots__ = ("__private", "set", "unset")

    def __init__(self):
        self.set = 1
        self.__private = 2
