"""Attributes of a stranger's values, read where they lie: no property, `__getattr__` or descriptor runs.

What is read: slots, the dictionaries of instances, classes and modules, the fields of named tuples, an
enum's name and value, and the few getters of C types that only read a field. A class's own
`__getattribute__` is passed by.

Lives here: `attribute`, and `attribute_reader` for one name. Not here: what else values answer (reading.py),
which attributes hold secrets (hiding.py). Standard library only: a guest imports this.
"""

from __future__ import annotations

import sys

from devtrace.probes.kinds import (
    CLASS_DICT,
    MISSING,
    MODULE,
    MODULE_DICT,
    MODULE_OF,
    MRO,
    Unsafe,
    class_entry,
    class_name,
    is_kind,
    named,
    own_entry,
    refusal,
    short_name,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    _Plan = tuple[
        type | None, Callable[[Any], Any] | None, bool
    ]  # of a class: what reads, whether from a slot


_GETSET = type(CLASS_DICT(type)["__dict__"])
_MEMBER = type(CLASS_DICT(MODULE)["__dict__"])
_METHODS = (type(lambda: None), classmethod, staticmethod, type(str.lower), type(str.__len__), type(len))
_PLAIN_GETTERS = ("datetime", "decimal")  # modules whose getters read a field and nothing else
_DICT_OFFSET = CLASS_DICT(type)["__dictoffset__"].__get__
_SHAPE = ("shape", "size", "ndim", "dtype", "nbytes", "itemsize")


def attribute(value: Any, name: str) -> Any:
    """`value.name`: a slot, an entry of the instance's dictionary, or a plain value of its class."""
    kind = type(value)
    if is_kind(kind, type):
        return _of_class(value, name)
    if is_kind(kind, MODULE):
        return _of_module(value, kind, name)
    found = class_entry(kind, name)
    if _is_slot(found):
        return found.__get__(value)
    if found is not MISSING and _is_overriding(found):
        return _computed(value, kind, name, found)
    own = _own(value, kind, name)
    if own is not MISSING:
        return own
    if found is MISSING:
        raise _absent(kind, f"'{short_name(kind)}' object", name)
    return _as_it_stands(found, kind, name)


def attribute_reader(name: str) -> Callable[[Any], Any]:
    """What does the same for one name, and remembers how the last class was read.

    That keeps the class alive, and its descriptor, for as long as the expression is there: one of each.
    """
    plan: _Plan = (None, None, False)

    def read(value: Any) -> Any:
        nonlocal plan
        if type(value) is not plan[0]:
            plan = _planned(type(value), name)
        _, get, is_slot = plan
        if get is None:
            return attribute(value, name)
        if is_slot:
            return get(value)
        found = named(get(value), name)
        return attribute(value, name) if found is MISSING else found

    return read


def _planned(kind: type, name: str) -> _Plan:
    """For what lies in a slot, or in the dictionary of an instance."""
    if is_kind(kind, type) or is_kind(kind, MODULE):
        return kind, None, False
    found = class_entry(kind, name)
    if _is_slot(found):
        return kind, found.__get__, True
    if found is not MISSING and _is_overriding(found):
        return kind, None, False
    return kind, _dictionary_of(kind), False


def _dictionary_of(kind: type) -> Callable[[Any], Any] | None:
    """What reads the dictionary of an instance, where C keeps it; a class may say otherwise by a property."""
    for base in MRO(kind):
        found = own_entry(base, "__dict__")
        if type(found) is _GETSET or type(found) is _MEMBER:
            return found.__get__  # type: ignore[no-any-return]
    return None


def _own(value: Any, kind: type, name: str) -> Any:
    """From the dictionary of an instance."""
    if (get := _dictionary_of(kind)) is not None:
        return named(get(value), name)
    if _DICT_OFFSET(kind):
        raise Unsafe(f"{class_name(kind)} hides where its fields are")
    return MISSING


def _is_overriding(found: Any) -> bool:
    """Whether it is asked before the instance's own dictionary."""
    kind = type(found)
    if class_entry(kind, "__get__") is MISSING:
        return False
    return any(class_entry(kind, name) is not MISSING for name in ("__set__", "__delete__"))


def _is_slot(found: Any) -> bool:
    """Whether it only reads a field: a slot, or a name of a named tuple's item."""
    return type(found) is _MEMBER or type(found) is _of_library("_collections", "_tuplegetter")


def _of_library(module: str, name: str) -> Any:
    """None: not imported."""
    found = sys.modules.get(module)
    return None if type(found) is not MODULE else MODULE_DICT(found).get(name)


def _computed(value: Any, kind: type, name: str, found: Any) -> Any:
    """What C alone computes, and an enum's name and value."""
    if type(found) is _GETSET:
        owner = found.__objclass__
        is_field = owner is int or owner is float or MODULE_OF(owner) in _PLAIN_GETTERS
        if is_field or (owner is BaseException and name == "args"):
            return found.__get__(value)
        if name in _SHAPE and class_name(owner) == "numpy.ndarray":
            return found.__get__(value)
    enum = _of_library("enum", "Enum")
    if name in ("name", "value") and enum is not None and found is own_entry(enum, name):
        return _own(value, kind, f"_{name}_")
    raise _refused(found, kind, name)


def _as_it_stands(found: Any, kind: type, name: str) -> Any:
    """A value of a class, unless it would be asked to make another of itself."""
    if class_entry(type(found), "__get__") is not MISSING:
        raise _refused(found, kind, name)
    return found


def _refused(found: Any, kind: type, name: str) -> Unsafe:
    what = type(found)
    if any(what is one for one in _METHODS):
        return Unsafe(f"{name} is a method of {class_name(kind)}")
    form = "property" if what is property else class_name(what)
    return Unsafe(f"{name} is a {form} of {class_name(kind)}: reading it would run the program's code")


def _absent(kind: type, told: str, name: str) -> Exception:
    if class_entry(kind, "__getattr__") is not MISSING:
        return refusal(kind, f"reading {name} of")
    return AttributeError(f"{told} has no attribute '{name}'")


def _of_class(value: Any, name: str) -> Any:
    meta = type(value)
    if meta is not type and (found := class_entry(meta, name)) is not MISSING and _is_overriding(found):
        raise _refused(found, meta, name)
    found = class_entry(value, name)
    if found is MISSING:
        raise _absent(meta, f"type object '{short_name(value)}'", name)
    return _as_it_stands(found, value, name)


def _of_module(value: Any, kind: type, name: str) -> Any:
    table = MODULE_DICT(value)
    if kind is not MODULE and (found := class_entry(kind, name)) is not MISSING and _is_overriding(found):
        raise _refused(found, kind, name)
    if (found := named(table, name)) is not MISSING:
        return found
    if named(table, "__getattr__") is not MISSING:
        raise Unsafe(f"the module computes {name} by its own code")
    told = named(table, "__name__")
    raise _absent(kind, f"module '{told}'" if type(told) is str else "module", name)
