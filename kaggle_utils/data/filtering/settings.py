"""What is dropped, and what is changed: the settings of every stage in one place.

It promises that settings which contradict each other are refused when they are made, all of them at once, and that
they survive JSON. It knows no rows.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["FilterSettings"]


@dataclass(frozen=True)
class FilterSettings:
    """What each stage drops. ``None`` or an empty value switches a stage off."""

    language: str | None = "ja"
    """The language that every field should be in (ISO 639-1)."""
    min_language_share: float = 0.5
    """A field with a smaller share of its letters in sentences of ``language`` is dropped. Code and URLs do not count;
    a Latin letter counts a third of a kanji."""
    foreign_sentences: bool = True
    """Drop a row for one whole sentence that slips into another language, whatever the share."""
    named_languages: bool = True
    """A row that names a foreign language (英語, 中国語, ハングル) may contain it."""
    encoding: str | None = "cp932"
    """Ideographs and letters outside this encoding are foreign (simplified Chinese, mostly). Latin letters with
    accents, symbols and emoji never are, nor are ideographs of JIS X 0213 that Chinese does not use (鷗, 剝)."""
    allowed_characters: str = ""
    """Characters that no stage takes for foreign."""
    scripts: tuple[str, ...] = ("Han", "Hiragana", "Katakana", "Latin", "Greek")
    """Scripts, by Unicode's names, whose letters are welcome. Two neighbouring letters of others, or one Hangul, drop
    a row (a single Д or ω is part of a face). Empty: all are welcome."""
    blocklist: tuple[str, ...] = ()
    """Strings that drop a row wherever they stand; case counts."""
    replacements: Mapping[str, str] = field(default_factory=dict)
    """Strings to replace before anything is judged, all in one go, the longest first."""
    remove_controls: bool = True
    """Remove control characters, byte order marks and zero-width spaces before anything is judged; False: drop the
    row."""
    broken_text: bool = True
    """Drop rows with lone surrogates, U+FFFD, private use characters, or text decoded with the wrong encoding."""
    optional_fields: tuple[str, ...] = ("input", "context", "system", "history")
    """Fields that may be missing or empty."""
    min_characters: int = 1
    """Shortest field that stays, without white space around it."""
    max_characters: int | None = None
    """Longest field that stays."""
    max_repeated_share: float | None = 0.6
    """A field is dropped when more than this share of its 8-character pieces came before in it (a model in a loop)."""
    max_url_share: float | None = 0.5
    """A field is dropped when URLs make up more than this share of its characters."""
    max_code_share: float | None = None
    """A field is dropped when fenced code makes up more than this share of its characters."""
    rare_counts: tuple[int, ...] = (19, 9)
    """Rows with a character that the whole set has at most this often are dropped; then, counted again without them,
    at most the next number, and so on."""
    rare_from_characters: int = 10_000_000
    """Smallest set, in characters kept so far, in which rarity says anything; smaller sets skip the stage."""
    duplicates: bool = False
    """Drop rows whose fields, white space aside, equal those of an earlier row. Off, as is the next one, because what
    counts as a repeat depends on the set: answers of several models to the same questions are often equal."""
    near_duplicates: float | None = None
    """Such as 0.8, with ``duplicates``: Jaccard similarity of 4-character pieces, as MinHash estimates it (give or take
    0.05), from which the later of two rows is dropped. Rows whose digits differ are other tasks, unless they are 0.95
    alike."""
    duplicate_from_characters: int = 20
    """Rows with fewer characters in all fields are never duplicates: many questions have the answer はい."""
    duplicate_rows: int = 1_000_000
    """Rows among which duplicates are looked for, in order; the next ones begin anew. Bounds the memory: about 300
    bytes a row, so 300 MB."""

    def __post_init__(self) -> None:
        for name in ("scripts", "blocklist", "optional_fields", "rare_counts"):
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(value) if isinstance(value, (list, set, frozenset)) else value)
        if problems := [*_wrong_types(self), *_out_of_range(self)] or _contradictions(self):
            raise ValueError("settings that cannot filter:\n" + "\n".join(f"  - {p}" for p in problems))
        object.__setattr__(self, "replacements", dict(self.replacements))

    def as_dict(self) -> dict[str, Any]:
        """All of them, fit for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FilterSettings:
        """Read what :meth:`as_dict` gave.

        >>> FilterSettings.from_dict(FilterSettings(blocklist=("x",)).as_dict()) == FilterSettings(blocklist=("x",))
        True
        """
        return cls(**values)


def _wrong_types(settings: FilterSettings) -> list[str]:
    problems = []
    for name in ("scripts", "blocklist", "optional_fields"):
        value = getattr(settings, name)
        if not isinstance(value, tuple) or not all(isinstance(item, str) and item for item in value):
            problems.append(f"{name} is {value!r}, expected a tuple of strings that are not empty")
    pairs = settings.replacements
    if not isinstance(pairs, Mapping) or not all(
        isinstance(k, str) and k and isinstance(v, str) for k, v in pairs.items()
    ):
        problems.append(f"replacements is {pairs!r}, expected a mapping from strings, not empty, to strings")
    counts = settings.rare_counts
    if not isinstance(counts, tuple) or not all(type(count) is int and count > 0 for count in counts):
        problems.append(f"rare_counts is {counts!r}, expected whole numbers from 1")
    return problems


def _out_of_range(settings: FilterSettings) -> list[str]:
    problems = []
    for name in ("min_language_share", "max_repeated_share", "max_url_share", "max_code_share", "near_duplicates"):
        value = getattr(settings, name)
        if not (value is None and name != "min_language_share") and not _is_share(value):
            problems.append(f"{name} is {value!r}, expected a share from 0 to 1")
    for name, lowest in (
        ("min_characters", 0),
        ("max_characters", 1),
        ("rare_from_characters", 0),
        ("duplicate_from_characters", 0),
        ("duplicate_rows", 2),
    ):
        value = getattr(settings, name)
        if not (value is None and name == "max_characters") and not (type(value) is int and value >= lowest):
            problems.append(f"{name} is {value!r}, expected a whole number from {lowest}")
    if settings.near_duplicates is not None and _is_share(settings.near_duplicates) and settings.near_duplicates < 0.5:
        problems.append(f"near_duplicates is {settings.near_duplicates}, expected 0.5 or more: pairs that share less "
                        "than half of their pieces are not found")  # fmt: skip
    if settings.encoding is not None:
        try:
            codecs.lookup(settings.encoding)
        except (LookupError, TypeError):
            problems.append(f"encoding is {settings.encoding!r}, expected a codec that Python knows, such as 'cp932'")
    return problems


def _is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def _contradictions(settings: FilterSettings) -> list[str]:
    problems = []
    if settings.max_characters is not None and settings.max_characters < settings.min_characters:
        problems.append(f"max_characters {settings.max_characters} is below min_characters {settings.min_characters}")
    if list(settings.rare_counts) != sorted(settings.rare_counts, reverse=True):
        problems.append(f"rare_counts {settings.rare_counts} rise: a later pass with a higher number would have been "
                        "the first one alone")  # fmt: skip
    if settings.near_duplicates is not None and not settings.duplicates:
        problems.append("near_duplicates without duplicates would keep equal rows: set near_duplicates=None as well")
    words = tuple(settings.replacements.values())
    for word in settings.blocklist:
        problems += [
            f"blocklist has {word!r}, which the replacement {new!r} writes: all such rows would go"
            for new in words
            if word in new
        ]
    return problems
