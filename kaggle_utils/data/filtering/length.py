"""Fields that are empty, no text, too short or too long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .findings import Finding
from .settings import FilterSettings

__all__ = ["empty_fields", "wrong_length"]


def empty_fields(values: Sequence[tuple[str, Any]], settings: FilterSettings) -> Finding | None:
    """The first field without text, unless it is an optional one.

    >>> empty_fields([("input", None), ("output", " ")], FilterSettings())
    Finding(why='empty', detail='output')
    """
    for name, value in values:
        if isinstance(value, str):
            if value and not value.isspace():
                continue
            why = "empty"
        else:
            why = "missing" if value is None else f"no text but {type(value).__name__}"
        if why.startswith("no text") or name.rpartition(".")[2] not in settings.optional_fields:
            return Finding(why, name)
    return None if values else Finding("missing", "no fields")


def wrong_length(texts: Sequence[str], fields: Sequence[str], settings: FilterSettings) -> dict[int, Finding]:
    """Text -> finding, by the number of characters without white space around."""
    low, high = settings.min_characters, settings.max_characters
    found: dict[int, Finding] = {}
    if low <= 1 and high is None:  # empty ones were dropped before
        return found
    for number, text in enumerate(texts):
        if len(text) < low or (high is not None and len(text) > high) or text[:1].isspace() or text[-1:].isspace():
            length = len(text.strip())
            if length < low and fields[number].rpartition(".")[2] not in settings.optional_fields:
                found[number] = Finding("short", f"{length} characters, fewer than {low}")
            elif high is not None and length > high:
                found[number] = Finding("long", f"{length} characters, more than {high}")
    return found
