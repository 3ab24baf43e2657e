"""Texts of a row by name: "answer", "messages.*.content", "utterances.0.text".

It promises that a field that is missing, or holds no text, is told and never guessed. It knows no stages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["USUAL_FIELDS", "guess_fields", "map_texts", "read_texts"]

USUAL_FIELDS = (
    ("instruction", "input", "output"), ("instruction", "output"), ("instruction", "response"), ("prompt", "response"),
    ("prompt", "completion"), ("question", "answer"), ("input", "output"), ("input_text", "output_text"),
    ("messages.*.content",), ("conversations.*.value",), ("utterances.*.text",), ("text",), ("answer",), ("output",),
)  # fmt: skip
"""What :func:`guess_fields` tries, in order."""


def read_texts(row: Mapping[str, Any], fields: Sequence[str]) -> list[tuple[str, Any]]:
    """Every field's values with their full names; a missing one is None, so that nothing is passed over.

    >>> read_texts({"a": "x", "m": [{"c": "y"}, {"c": 3}]}, ["a", "m.*.c", "b"])
    [('a', 'x'), ('m.0.c', 'y'), ('m.1.c', 3), ('b', None)]
    """
    found: list[tuple[str, Any]] = []
    for name in fields:
        if name in row:  # the usual case, and names with a dot of their own
            found.append((name, row[name]))
        else:
            _walk(row, name.split("."), (), found)
    return found


def map_texts(row: Any, names: Sequence[str], change: Callable[[str], str]) -> None:
    """Replace the texts at ``names`` (full names, as :func:`read_texts` gives them) in the row itself."""
    for name in names:
        steps = [name] if name in row else name.split(".")
        place = row
        for step in steps[:-1]:
            place = place[int(step)] if isinstance(place, list) else place[step]
        last: Any = int(steps[-1]) if isinstance(place, list) else steps[-1]
        place[last] = change(place[last])


def guess_fields(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The first of :data:`USUAL_FIELDS` that ``row`` has.

    Raises:
        ValueError: none; the names that are there.
    """
    for names in USUAL_FIELDS:
        if all(value is not None for name in names for _, value in read_texts(row, [name])):
            return names
    raise ValueError(f"no usual text fields; the first row has {', '.join(map(repr, row)) or 'none'}. "
                     "Name yours: fields=('question', 'answer') or fields=('messages.*.content',)")  # fmt: skip


def _walk(place: Any, steps: Sequence[str], path: tuple[str, ...], found: list[tuple[str, Any]]) -> None:
    if not steps:
        found.append((".".join(path), place))
    elif steps[0] == "*" and isinstance(place, list) and place:
        for number, item in enumerate(place):
            _walk(item, steps[1:], (*path, str(number)), found)
    elif isinstance(place, Mapping) and steps[0] in place:
        _walk(place[steps[0]], steps[1:], (*path, steps[0]), found)
    elif isinstance(place, list) and steps[0].isdigit() and int(steps[0]) < len(place):
        _walk(place[int(steps[0])], steps[1:], (*path, steps[0]), found)
    else:
        found.append((".".join((*path, *steps)), None))
