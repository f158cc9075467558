"""Slot-filling answers as text, and back: JSON as in the paper, or plain for tiny models.

Plain answers set every filler off by spaces, so that a tokenizer cuts it as it does inside the
sentence and a small model can copy it token by token.
"""

from __future__ import annotations

import json
import re
from typing import Any

Slots = list[tuple[str, str]]
JOINT = " & "
EMPTY = "none"


def to_json(slots: Slots) -> str:
    """`{"date": "tomorrow", "time": "3 pm"}`; fillers of a repeated type are joined by " & "."""
    joined: dict[str, str] = {}
    for kind, filler in slots:
        joined[kind] = f"{joined[kind]}{JOINT}{filler}" if kind in joined else filler
    return json.dumps(joined, ensure_ascii=False)


def from_json(answer: str) -> tuple[Slots, bool]:
    """The pairs of a JSON answer and whether it is malformed; never raises.

    Repeated keys and " & " give one pair each. Malformed is whatever is not one JSON object of
    strings (text around it included); its pairs are those that json-repair can save.
    """
    try:
        pairs = json.loads(answer, object_pairs_hook=_Pairs)
        malformed = not isinstance(pairs, _Pairs)
    except (ValueError, RecursionError):
        pairs, malformed = _repaired(answer), True
    slots: Slots = []
    for kind, filler in pairs if isinstance(pairs, _Pairs) else []:
        if not isinstance(filler, str):
            malformed = True
            if isinstance(filler, bool) or not isinstance(filler, (int, float)):
                continue
            filler = str(filler)
        found = [part.strip() for part in filler.split(JOINT.strip())]
        slots += [(kind.strip(), part) for part in found if part]
        malformed = malformed or not all(found) or not kind.strip()
    return [(kind, filler) for kind, filler in slots if kind], malformed


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with its repeated keys."""


def _repaired(answer: str) -> _Pairs:
    start = answer.find("{")
    if start < 0:
        return _Pairs()
    import json_repair

    try:
        # The object alone: repair would read the prose around it as part of the answer.
        mended = json_repair.repair_json(answer[start:], skip_json_loads=True)
        pairs = json.loads(mended, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError, IndexError, TypeError):
        return _Pairs()
    return pairs if isinstance(pairs, _Pairs) else _Pairs()


def to_plain(slots: Slots) -> str:
    """`date: tomorrow ; time: 3 pm`, or `none`."""
    return " ; ".join(f"{kind}: {filler}" for kind, filler in slots) or EMPTY


def from_plain(answer: str) -> tuple[Slots, bool]:
    """The pairs of a plain answer and whether it is malformed; never raises.

    A part without a type or a filler makes the answer malformed and is skipped.
    """
    text = " ".join(answer.split())
    if text == EMPTY:
        return [], False
    slots: Slots = []
    malformed = False
    for part in re.split(r" ?; ?", text):
        kind, colon, filler = part.partition(":")
        if colon and kind.strip() and filler.strip():
            slots.append((kind.strip(), filler.strip()))
        else:
            malformed = True
    return slots, malformed
