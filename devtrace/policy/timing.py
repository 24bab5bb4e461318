"""The times of terminal output, kept in step when a part of the output becomes longer or shorter.

Lives here: `shifted`. Not here: what is replaced (chain.py). Standard library only, no dataclass.
"""

from __future__ import annotations

Edit = tuple[int, int, int]  # (start, end, new length) of a replaced part, in the old bytes


def shifted(timing: bytes, size: int, edits: list[Edit]) -> bytes:
    """JSON `[[us, bytes], ...]` over `size` old bytes, as steps over the new ones.

    A replaced part belongs to the step in which it begins. What is no such JSON becomes one step.
    """
    if not edits:
        return timing
    import json

    try:
        steps = [(int(at_us), int(count)) for at_us, count in json.loads(timing)]
    except (ValueError, TypeError):
        steps = []
    return json.dumps(_steps(steps, size, edits), separators=(",", ":")).encode()


def _steps(steps: list[tuple[int, int]], size: int, edits: list[Edit]) -> list[list[int]]:
    shifted_steps: list[list[int]] = []
    old = new = edit = moved = until = 0  # until: the new place up to which a replaced part reaches
    for index, (at_us, count) in enumerate(steps or [(0, size)]):
        is_last = index == max(len(steps), 1) - 1
        old = size if is_last else min(old + max(count, 0), size)
        while edit < len(edits) and edits[edit][0] < old:
            start, end, length = edits[edit]
            until = start + moved + length
            moved += length - (end - start)
            edit += 1
        is_inside = edit > 0 and edits[edit - 1][1] > old
        place = until if is_inside else old + moved
        if place > new:
            shifted_steps.append([at_us, place - new])
            new = place
    return shifted_steps
