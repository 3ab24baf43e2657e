"""Every keyword that kaggle-environments shipped for 20 Questions, with the versions that hold it.

Versions 1.14.15 (things and places) and 1.18.0 (things; the last version with this environment). The competition's
private keywords are not among them. The list is compiled by ``scripts/compile_keywords.py``; nothing is executed.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kaggle_utils._optional import require
from kaggle_utils.q20.protocol import normalize

if TYPE_CHECKING:
    import pandas

__all__ = ["Keyword", "is_bare_keyword", "keywords_frame", "load_keywords"]

_DATA = Path(__file__).parent / "data" / "keywords.json"


@dataclass(frozen=True)
class Keyword:
    """One keyword as the environment writes it."""

    word: str
    category: str
    """"things" or "place"."""
    alts: tuple[str, ...]
    """Other names that the environment accepts."""
    versions: tuple[str, ...]
    """The versions of kaggle-environments that draw it."""


def load_keywords(*, version: str | None = None, category: str | None = None) -> list[Keyword]:
    """Return the keywords, sorted by category and word; all of them, or those of one version or category.

    Raises:
        ValueError: no keyword has that version or category; the error lists those there are.

    >>> len(load_keywords(version="1.18.0")), load_keywords(category="place")[0].word
    (579, 'acapulco mexico')
    """
    rows = _rows()
    _check("version", version, {name for row in rows for name in row.versions})
    _check("category", category, {row.category for row in rows})
    return [row for row in rows if version in (None, *row.versions) and category in (None, row.category)]


def keywords_frame(*, version: str | None = None, category: str | None = None) -> pandas.DataFrame:
    """Return ``load_keywords`` as a pandas DataFrame with the columns word, category, alts and versions."""
    pandas = require("pandas", extra="train")
    rows = load_keywords(version=version, category=category)
    columns = ["word", "category", "alts", "versions"]
    return pandas.DataFrame([[getattr(row, name) for name in columns] for row in rows], columns=columns)


def is_bare_keyword(text: str) -> bool:
    """Say whether the environment would take ``text`` for any shipped keyword, as ``keywords_match`` does.

    Such a question ends the episode for everybody if it happens to be the keyword.

    >>> is_bare_keyword("Coffee?"), is_bare_keyword("Turkeys"), is_bare_keyword("Is it coffee?")
    (False, True, False)
    """
    name, names = normalize(text), _names()
    if name in names:
        return True
    shorter = [name[: -len(ending)] for ending in ("s", "es") if name.endswith(ending)]
    return len(name) >= 3 and any(len(form) >= 3 and form in names for form in (name + "s", name + "es", *shorter))


@functools.lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return frozenset(normalize(name) for row in _rows() for name in (row.word, *row.alts))


@functools.lru_cache(maxsize=1)
def _rows() -> tuple[Keyword, ...]:
    entries = json.loads(_DATA.read_text(encoding="utf-8"))["keywords"]
    return tuple(
        Keyword(entry["word"], entry["category"], tuple(entry["alts"]), tuple(entry["versions"])) for entry in entries
    )


def _check(field: str, value: str | None, known: set[str]) -> None:
    if value is not None and value not in known:
        raise ValueError(f"no keyword has {field}={value!r}; there are {sorted(known)}, or None for all")
