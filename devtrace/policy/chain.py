"""What may be kept: every frame passes here before it is written anywhere.

Rules work on bytes, so that a command line, its output and a value of the environment are compared as what
they are, in whatever encoding; a text with surrogates for strange bytes passes as those bytes.

Lives here: `Policy`, the chain of steps over a frame's texts and bytes, and the marker for a secret.
Not here: the rules (secrets.py, known.py). Standard library only, and no dataclass: guests import this.
"""

from __future__ import annotations

import hmac
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from devtrace.policy.escapes import Plain
from devtrace.policy.names import compiled
from devtrace.policy.timing import Edit, shifted

if TYPE_CHECKING:
    from devtrace.policy.known import Known

_MARKER = rb"\[redacted:[a-z0-9-]+(?::[0-9a-f]{8})?\]"
WITHHELD = "[withheld: policy failure]"
_OUTPUT, _TIMING = "output", "timing"  # as events.command names them, which a guest must not import

_LONGEST_FIELD = 20  # characters of a name in `data` that is a field's, and no text

_MOST_TAGS = 4096  # that are remembered: a dump of secrets asks for the same few again and again

# Edges of a text beside which something was not kept: a secret may be there in part.
CUT_START = 1
CUT_END = 2

# A step finds secrets in a text without escape sequences: (start, end, rule, the secret itself if it is
# written there in another form, else None).
Span = tuple[int, int, str, bytes | None]
Step = Callable[[bytes, int], Iterable[Span]]


class Found(NamedTuple):
    """A secret in some bytes: where it stands, the rule that found it, its tag (`Policy.tag`)."""

    start: int
    end: int
    rule: str
    tag: str | None


class Part(NamedTuple):
    """What became of a part of some bytes, the place up to which it reaches, and what was found in it."""

    data: bytes
    upto: int
    found: list[Found]


class Policy:
    """A chain of steps. Never raises: a text that a step fails on is withheld. For one thread."""

    def __init__(
        self,
        steps: Iterable[Step],
        salt: bytes | None = None,
        known: Known | None = None,
        allowed: Callable[[bytes], bool] | None = None,
        teachers: frozenset[str] = frozenset(),
    ):
        """`known`: the step among them that learns values, and `teachers` the rules that it learns from.

        `allowed`: whether a secret is none after all.
        """
        self._teachers = teachers
        self._tags: dict[bytes, str] = {}
        self._steps = tuple(steps)
        self._salt = salt
        self._known = known
        self._allowed = allowed
        self.counts: dict[str, int] = {}  # how many secrets each rule replaced
        self.is_passed_on: Callable[[BaseException], bool] = lambda _: False  # no rule's failure: a handler's

    @classmethod
    def for_session(
        cls,
        environment: Mapping[str, str],
        salt: bytes | None,
        rules: Mapping[str, str] | None = None,
        allow: Mapping[str, str] | None = None,
    ) -> Policy:
        """The rules, and the secret values of this environment; the salt makes equal secrets comparable.

        `rules` and `allow`: the user's own, by their names (custom.py); his rules come first.
        """
        from devtrace.policy.known import known_values
        from devtrace.policy.secrets import RULES, TEACHERS

        known = known_values(environment)
        if not rules and not allow:
            return cls((*RULES, known), salt, known, None, TEACHERS)
        from devtrace.policy.custom import allowed, custom_rules

        own = rules or {}
        steps: tuple[Step, ...] = (*custom_rules(own), *RULES, known)
        return cls(steps, salt, known, allowed(allow or {}), TEACHERS | own.keys())

    def learn(self, values: Iterable[bytes]) -> None:
        """From now on these values are secrets wherever they stand; they are kept in memory only.

        What a rule finds by the name beside it is learned by itself, if it looks like nothing but a secret: a
        variable that was set in the session is masked when it is printed.
        """
        if self._known is not None:
            for value in values:
                self._known.add(value)

    def tag(self, secret: bytes) -> str | None:
        """What stands for a secret in its marker: 8 hex digits of an HMAC; None without a salt."""
        if self._salt is None:
            return None
        tag = self._tags.get(secret)
        if tag is None:
            tag = hmac.digest(self._salt, secret, "sha256").hex()[:8]
            if len(self._tags) < _MOST_TAGS:
                self._tags[secret] = tag
        return tag

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of the chain, in their order."""
        return self._steps

    @property
    def known(self) -> Known | None:
        """The step among them that knows values."""
        return self._known

    @property
    def learned(self) -> list[bytes]:
        """The secrets that turned up so far, for another policy of the same process to learn."""
        return [] if self._known is None else self._known.learned

    def redact(self, frame: dict[str, Any]) -> dict[str, Any]:
        """A frame whose title, cwd, data and blobs hold no secret that a rule knows.

        `data["redacted"]` names the rules that found one. In `data["output"]`, `head` and `tail` become the
        sizes of the redacted parts, as they stand in the blob, and `redacted` says by how many bytes the two
        are shorter than what was printed, so that what was not kept can still be told from `seen`.
        """
        before = dict(self.counts)
        kept = dict(frame)
        for name in ("title", "cwd"):
            if isinstance(frame.get(name), str):
                kept[name] = self.redact_text(frame[name])
        kept["data"] = data = self.redact_values(frame.get("data"))
        kept["blobs"] = self._redact_blobs(frame.get("blobs"), data)
        rules = sorted(rule for rule, count in self.counts.items() if count > before.get(rule, 0))
        if rules and isinstance(data, dict):
            data["redacted"] = rules
        return kept

    def redact_text(self, text: str) -> str:
        """The text with every secret replaced by a marker."""
        try:
            data = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # a surrogate that stands for no byte
            data = text.encode("utf-8", "replace")
        redacted, edits = self._replace(data, 0)
        return redacted.decode("utf-8", "surrogateescape") if edits else text

    def redact_json(self, text: str) -> str:
        """A text that is JSON, each text in it redacted as it was meant and not as JSON writes it.

        In JSON a line end and a quote are escaped, and what stands behind them is in no place that a rule
        knows. Anything else comes back as it is, and is still to be redacted.
        """
        import json

        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return text
        if not isinstance(value, dict | list):
            return text
        kept = self.redact_values(value)
        return text if kept == value else json.dumps(kept, ensure_ascii=False, separators=(",", ":"))

    def redact_bytes(self, data: bytes) -> bytes:
        """The same for bytes in any encoding."""
        return self._replace(data, 0)[0]

    def redact_output(self, output: bytes, timing: bytes) -> tuple[bytes, bytes]:
        """Terminal output with its timing, `[[us, bytes], ...]`, kept in step with what was replaced."""
        redacted, edits = self._replace(output, 0)
        return redacted, shifted(timing, len(output), edits)

    def redact_values(self, value: Any) -> Any:
        """JSON-like data with every text in it redacted, its keys too; what nests too deeply is withheld."""
        try:
            return self._redact_value(value)
        except RecursionError:
            return self._failed()

    def _redact_value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.redact_text(value)
        if isinstance(value, dict):
            return {self._redact_name(name): self._redact_value(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._redact_value(inner) for inner in value]
        return value

    def _redact_name(self, name: Any) -> Any:
        is_a_field = (
            isinstance(name, str) and len(name) <= _LONGEST_FIELD and name.replace("_", "a").isalpha()
        )
        return name if is_a_field and name.islower() else self._redact_value(name)

    def _redact_blobs(self, blobs: Any, data: Any) -> dict[str, bytes]:
        given = {
            name: payload if isinstance(payload, bytes) else self._failed().encode()
            for name, payload in (blobs.items() if isinstance(blobs, dict) else ())
        }
        kept = {
            name: self.redact_bytes(payload)
            for name, payload in given.items()
            if name not in (_OUTPUT, _TIMING)
        }
        if _OUTPUT in given:
            info = data.get("output") if isinstance(data, dict) else None
            kept[_OUTPUT], edits = self._redact_parts(given[_OUTPUT], info if isinstance(info, dict) else {})
            if _TIMING in given:
                kept[_TIMING] = shifted(given[_TIMING], len(given[_OUTPUT]), edits)
        return kept

    def _redact_parts(self, output: bytes, info: dict[str, Any]) -> tuple[bytes, list[Edit]]:
        """Output of which the middle may be missing: what stands beside the cut does not belong together."""
        if not info.get("truncated"):
            redacted, edits = self._replace(output, 0)
            if edits and isinstance(info.get("head"), int):
                info["head"] = len(redacted)
                info["redacted"] = len(output) - len(redacted)
            return redacted, edits
        size = info.get("head")
        cut = min(size, len(output)) if isinstance(size, int) and size >= 0 else len(output)
        head, edits = self._replace(output[:cut], CUT_END)
        tail, more = self._replace(output[cut:], CUT_START)
        edits = edits + [(start + cut, end + cut, size) for start, end, size in more]
        if edits:
            info["head"], info["tail"] = len(head), len(tail)
            info["redacted"] = len(output) - len(head) - len(tail)
        return head + tail, edits

    def find(self, data: bytes, edges: int = 0) -> list[Found]:
        """The secrets in the bytes, in their order and apart. Raises whatever a step raises."""
        plain = Plain(data)
        return [
            Found(*plain.span(first, last), rule, self.tag(_secret(plain.text, first, last, secret)))
            for first, last, rule, secret in self._spans(plain.text, edges)
        ]

    def redact_part(self, data: bytes, start: int, stop: int, edges: int = 0) -> Part:
        """What begins in `data[start:stop]`, redacted; the bytes around it are there to judge by.

        It reaches beyond `stop` when a secret does. A secret that begins before `start` is masked from there.
        """
        try:
            found = [one for one in self.find(data, edges) if one.end > start and one.start < stop]
        except Exception as error:  # as in `_replace`
            if self.is_passed_on(error):
                raise
            return Part(self._failed().encode(), max(start, stop), [])
        pieces, at = [], start
        plain = Plain(data)
        for one in found:
            marker = self.marker(one.rule, one.tag) + plain.sequences(max(one.start, start), one.end)
            pieces += [data[at : max(one.start, start)], marker]
            self._count(one.rule)
            at = one.end
        upto = max(at, stop)
        return Part(b"".join([*pieces, data[at:upto]]), upto, found)

    def _replace(self, data: bytes, edges: int) -> tuple[bytes, list[Edit]]:
        """The redacted bytes, and the edits as (start, end, new length) in the old ones."""
        try:
            plain = Plain(data)
            spans = self._spans(plain.text, edges)
            return self._marked(data, plain, spans) if spans else (data, [])
        except Exception as error:  # a rule failed: what it could not judge must not be kept
            if self.is_passed_on(error):
                raise
            withheld = self._failed().encode()
            return withheld, [(0, len(data), len(withheld))]

    def _spans(self, text: bytes, edges: int) -> list[Span]:
        spans: list[Span] = []
        for step in self._steps:
            spans += step(text, edges)
        if not spans:
            return []
        spans = self._real(text, spans)
        if self._known is not None:
            taught = [text[start:end] for start, end, rule, _ in spans if rule in self._teachers]
            if sum(map(self._known.learn, taught)):
                spans += self._real(text, self._known(text, edges))
        return _merged(spans)

    def _real(self, text: bytes, spans: Iterable[Span]) -> list[Span]:
        """Without what the user allows, and what stands in a marker: redacting twice changes nothing."""
        markers = [one.span() for one in compiled(_MARKER).finditer(text)] if b"[redacted:" in text else []
        return [
            span
            for span in spans
            if not (self._allowed and self._allowed(_secret(text, *span[:2], span[3])))
            and not (markers and _is_inside(span, markers))
        ]

    def _marked(self, data: bytes, plain: Plain, spans: list[Span]) -> tuple[bytes, list[Edit]]:
        pieces, edits, at = [], [], 0
        for first, last, rule, secret in spans:
            start, end = plain.span(first, last)
            marker = self.marker(rule, self.tag(_secret(plain.text, first, last, secret)))
            marker += plain.sequences(start, end)
            pieces += [data[at:start], marker]
            edits.append((start, end, len(marker)))
            self._count(rule)
            at = end
        return b"".join([*pieces, data[at:]]), edits

    def marker(self, rule: str, tag: str | None) -> bytes:
        """What stands for a secret: `[redacted:RULE:TAG]`, and without a salt `[redacted:RULE]`."""
        return f"[redacted:{rule}]".encode() if tag is None else f"[redacted:{rule}:{tag}]".encode()

    def _count(self, rule: str) -> None:
        self.counts[rule] = self.counts.get(rule, 0) + 1

    def _failed(self) -> str:
        self._count("policy-failure")
        return WITHHELD


def _is_inside(span: Span, markers: list[tuple[int, int]]) -> bool:
    """Whether it stands in one of the markers, which are in order and apart."""
    index = bisect_right(markers, (span[0], 1 << 62)) - 1
    return index >= 0 and span[1] <= markers[index][1]


def _secret(text: bytes, start: int, end: int, secret: bytes | None) -> bytes:
    return text[start:end] if secret is None else secret


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Spans in order, none empty; overlapping ones are joined under the rule of the first."""
    merged: list[Span] = []
    for start, end, rule, secret in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not merged or start >= merged[-1][1]:
            if end > start:
                merged.append((start, end, rule, secret))
        elif end > merged[-1][1]:
            merged[-1] = (merged[-1][0], end, merged[-1][2], None)
    return merged
