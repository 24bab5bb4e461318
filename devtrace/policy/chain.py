"""What may be kept: every frame passes here before it is written anywhere.

Lives here: `Policy`, the chain of steps over a frame's texts and bytes, and the marker for a secret.
Not here: the rules (secrets.py). Standard library only, and no dataclass: guests import this.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_OUTPUT, _TIMING = "output", "timing"  # as events.command names them, which a guest must not import
WITHHELD = "[withheld: policy failure]"

# A step finds secrets: it yields (start, end, rule) in a text of Latin-1 decoded bytes or of characters.
Span = tuple[int, int, str]
Step = Callable[[str], Iterable[Span]]


class Policy:
    """A chain of steps. Never raises: a text that a step fails on is withheld."""

    def __init__(self, steps: Iterable[Step], salt: bytes | None = None):
        self._steps = tuple(steps)
        self._salt = salt
        self.counts: dict[str, int] = {}  # how many secrets each rule replaced

    @classmethod
    def for_session(cls, environment: Mapping[str, str], salt: bytes | None) -> Policy:
        """The rules, and the secret values of this environment; the salt makes equal secrets comparable."""
        from devtrace.policy import secrets

        return cls((*secrets.RULES, secrets.known_values(environment)), salt)

    def redact(self, frame: dict[str, Any]) -> dict[str, Any]:
        """A frame whose title, cwd, data and blobs hold no secret that a rule knows."""
        before = dict(self.counts)
        kept = dict(frame)
        for name in ("title", "cwd"):
            if isinstance(frame.get(name), str):
                kept[name] = self.redact_text(frame[name])
        kept["data"] = self._redact_value(frame.get("data"))
        kept["blobs"] = self._redact_blobs(dict(frame.get("blobs") or {}))
        rules = sorted(rule for rule, count in self.counts.items() if count > before.get(rule, 0))
        if rules and isinstance(kept["data"], dict):
            kept["data"]["redacted"] = rules
        return kept

    def redact_text(self, text: str) -> str:
        """The text with every secret replaced by a marker."""
        return self._replace(text, lambda secret: secret.encode("utf-8", "surrogateescape"))[0]

    def redact_bytes(self, data: bytes) -> bytes:
        """The same for bytes in any encoding."""
        return self._replace(data.decode("latin-1"), lambda secret: secret.encode("latin-1"))[0].encode(
            "latin-1", "replace"
        )

    def redact_output(self, output: bytes, timing: bytes) -> tuple[bytes, bytes]:
        """Terminal output with its timing, `[[us, bytes], ...]`, kept in step with what was replaced."""
        import json

        text, edits = self._replace(output.decode("latin-1"), lambda secret: secret.encode("latin-1"))
        if not edits:
            return output, timing
        redacted = text.encode("latin-1", "replace")
        try:
            steps = [(int(at), int(size)) for at, size in json.loads(timing)]
        except (ValueError, TypeError):
            return redacted, json.dumps([[0, len(redacted)]]).encode()
        return redacted, json.dumps(_shifted(steps, edits), separators=(",", ":")).encode()

    def _redact_blobs(self, blobs: dict[str, bytes]) -> dict[str, bytes]:
        timing = blobs.pop(_TIMING, None)
        kept = {
            name: self.redact_bytes(data) for name, data in blobs.items() if name != _OUTPUT or timing is None
        }
        if timing is not None:
            kept[_OUTPUT], kept[_TIMING] = self.redact_output(blobs.get(_OUTPUT, b""), timing)
        return kept

    def _redact_value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.redact_text(value)
        if isinstance(value, dict):
            return {name: self._redact_value(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._redact_value(inner) for inner in value]
        return value

    def _replace(self, text: str, to_bytes: Callable[[str], bytes]) -> tuple[str, list[tuple[int, int, int]]]:
        """The redacted text, and the edits as (start, end, new length) in the old text."""
        try:
            spans = _merged(span for step in self._steps for span in step(text))
        except Exception:
            self.counts["policy-failure"] = self.counts.get("policy-failure", 0) + 1
            return WITHHELD, [(0, len(text), len(WITHHELD))]
        if not spans:
            return text, []
        pieces, edits, at = [], [], 0
        for start, end, rule in spans:
            marker = self._marker(rule, to_bytes(text[start:end]))
            pieces += [text[at:start], marker]
            edits.append((start, end, len(marker)))
            self.counts[rule] = self.counts.get(rule, 0) + 1
            at = end
        return "".join([*pieces, text[at:]]), edits

    def _marker(self, rule: str, secret: bytes) -> str:
        if self._salt is None:
            return f"[redacted:{rule}]"
        return f"[redacted:{rule}:{hmac.digest(self._salt, secret, 'sha256').hex()[:8]}]"


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Spans in order, overlapping ones joined under the rule of the longest."""
    merged: list[Span] = []
    for start, end, rule in sorted(spans, key=lambda span: (span[0], -span[1])):
        if merged and start < merged[-1][1]:
            first, last, kept = merged[-1]
            merged[-1] = (first, max(last, end), kept)
        elif end > start:
            merged.append((start, end, rule))
    return merged


def _shifted(steps: list[tuple[int, int]], edits: list[tuple[int, int, int]]) -> list[list[int]]:
    """Timing steps over the old bytes as steps over the new: a marker belongs to the step where it begins."""
    ends, at = [], 0
    for _, size in steps:
        at += size
        ends.append(at)
    shifted, previous, edit, moved = [], 0, 0, 0
    for (at_us, _), end in zip(steps, ends, strict=True):
        while edit < len(edits) and edits[edit][0] < end:
            moved += edits[edit][2] - (edits[edit][1] - edits[edit][0])
            edit += 1
        inside = edits[edit - 1][1] - end if edit and edits[edit - 1][1] > end else 0
        new_end = end + inside + moved
        shifted.append([at_us, max(0, new_end - previous)])
        previous = max(previous, new_end)
    return shifted
