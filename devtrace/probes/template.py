"""Templates of log messages: `user {user.id} took {duration_ms:.1f} ms, 100%`.

    {expression}  {expression!r}  {expression:spec}    {{ and }} are braces
    {{expression}}                                     in the legacy form, where a lone brace is itself

A field that fails is told by the name of its error, `{user.id: AttributeError}`, and the rest of the message
stands. `!r` and a spec are for single values: numbers, texts, None.

Lives here: `parse_template`, `Template`. Not here: expressions (expressions.py), how a value is written and
what of it is withheld (snapshot.py: `show`). Standard library only: a guest imports this.
"""

from __future__ import annotations

import re

from devtrace.probes.calls import spelled, written
from devtrace.probes.engine import is_ours
from devtrace.probes.expressions import BadExpression, Expression, parse
from devtrace.probes.kinds import MODULE_OF, SCALARS, TEXTS, Unsafe, class_name, short_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from devtrace.probes.scopes import Scope

MOST_FIELDS = 50
MOST_CHARACTERS = 8_000
_MOST_ERROR = 200  # characters that are told of one
_MOST_FORMATTED = 10_000

_TEXT_IN_EXPRESSION = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_SIGN = re.compile(rf"(?s){_TEXT_IN_EXPRESSION}|.")
_BRACE = re.compile(r"\{\{|\}\}|\{|\}")
_CONVERSION = re.compile(r"(?s)(.*\S)\s*!([rs])\s*")
# What format() may be told: a width or precision of three digits, for more would make a text of that length.
_SPEC = re.compile(r"(?:.?[<>=^])?[-+ ]?#?0?\d{0,3}[,_]?(?:\.\d{1,3})?[bcdeEfFgGosxX%]?")


class Field:
    """One `{expression!r:spec}` of a template."""

    __slots__ = ("conversion", "expression", "spec")

    def __init__(self, expression: Expression, conversion: str, spec: str):
        self.expression = expression
        self.conversion = conversion
        self.spec = spec

    def render(self, scope: Scope, show: Callable[[Any], str]) -> str:
        value = self.expression.evaluate(scope)
        if id(type(value)) not in SCALARS:
            if self.spec:
                raise Unsafe(f"a {class_name(type(value))} takes no format")
            return show(value)
        if self.conversion == "r":
            value = spelled(value)
        return show(_formatted(value, self.spec) if self.spec else value)


def _formatted(value: Any, spec: str) -> str:
    written(value)  # refuses an integer with too many digits
    if id(type(value)) in TEXTS and len(value) > _MOST_FORMATTED:
        raise Unsafe("the text is too long for a format")
    return format(value, spec)


class Template:
    """One of them, ready. `fields`: its expressions, in order; `names`, `members`: what all of them read."""

    __slots__ = ("_parts", "fields", "members", "names", "text")

    def __init__(self, text: str, parts: list[str | Field]):
        self.text = text
        self._parts = parts
        self.fields = tuple(part.expression for part in parts if isinstance(part, Field))
        self.names = frozenset().union(*(field.names for field in self.fields))
        self.members = frozenset().union(*(field.members for field in self.fields))

    def render(self, scope: Scope, show: Callable[[Any], str]) -> tuple[str, list[dict[str, str]]]:
        """The message, and what failed: `{"expression": ..., "error": "NameError: ..."}` for each field."""
        told: list[str] = []
        errors: list[dict[str, str]] = []
        for part in self._parts:
            if not isinstance(part, Field):
                told.append(part)
                continue
            try:
                told.append(part.render(scope, show))
            except Exception as error:  # whatever a value is, the rest of the message is told
                if not is_ours(error):
                    raise
                text = part.expression.text
                told.append(f"{{{text}: {short_name(type(error))}}}")
                errors.append({"expression": text, "error": error_text(error)})
        return "".join(told), errors


def error_text(error: Exception) -> str:
    """`NameError: name 'x' is not defined`; of an error of the program's own, which a handler of a signal
    may have raised meanwhile, the name alone."""
    kind = type(error)
    if kind is Unsafe or MODULE_OF(kind) == "builtins":
        return f"{short_name(kind)}: {error}"[:_MOST_ERROR]
    return short_name(kind)


def parse_template(text: str, legacy_mustache: bool = False) -> Template:
    """Raises BadExpression for a brace without its other, and for a field that is no expression."""
    if len(text) > MOST_CHARACTERS:
        raise BadExpression(f"a message has at most {MOST_CHARACTERS} characters", MOST_CHARACTERS + 1)
    parts = list(_mustaches(text) if legacy_mustache else _braces(text))
    if sum(isinstance(part, Field) for part in parts) > MOST_FIELDS:
        raise BadExpression(f"a message has at most {MOST_FIELDS} expressions")
    return Template(text, parts)


def _braces(text: str) -> Iterator[str | Field]:
    position = 0
    while position < len(text):
        found = _BRACE.search(text, position)
        if found is None:
            break
        yield text[position : found.start()]
        position = found.end()
        if len(found.group()) == 2:
            yield found.group()[0]
        elif found.group() == "}":
            raise BadExpression("a } without a {: write }} for the sign itself", found.start() + 1)
        else:
            field, position = _field(text, position, found.start())
            yield field
    yield text[position:]


def _field(text: str, start: int, brace: int) -> tuple[Field, int]:
    """The field whose brace stands there, and where the text goes on."""
    depth, colon = 0, None
    for found in _SIGN.finditer(text, start):
        sign = found.group()
        if sign == "}" and depth == 0:
            end = found.start() if colon is None else colon
            spec = "" if colon is None else text[colon + 1 : found.start()]
            return _made(text[start:end], start, spec), found.end()
        if colon is None:
            depth += (sign in "([{") - (sign in ")]}")
            colon = found.start() if sign == ":" and depth == 0 else None
    raise BadExpression("a { without a }: write {{ for the sign itself", brace + 1)


def _mustaches(text: str) -> Iterator[str | Field]:
    position = 0
    while (brace := text.find("{{", position)) >= 0:
        end = text.find("}}", brace)
        if end < 0:
            raise BadExpression("a {{ without a }}", brace + 1)
        yield text[position:brace]
        yield _made(text[brace + 2 : end], brace + 2, "")
        position = end + 2
    yield text[position:]


def _made(text: str, start: int, spec: str) -> Field:
    conversion = ""
    if (found := _CONVERSION.fullmatch(text)) is not None:
        text, conversion = found.groups()
    if _SPEC.fullmatch(spec) is None:
        raise BadExpression(f"{spec} is no format that a message takes", start + len(text) + 2)
    blank = len(text) - len(text.lstrip())
    try:
        return Field(parse(text.strip()), conversion, spec)
    except BadExpression as error:
        raise BadExpression(error.message, start + blank + error.column) from None
