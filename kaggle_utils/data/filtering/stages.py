"""The stages that judge a row by itself, in their order, and the repairs before them.

It promises that each row is dropped by the first stage that objects, and that stages never see other rows: what depends
on the whole set (rare characters, duplicates) comes after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from . import code_urls, damage, foreign, length, repetition
from .characters import CONTROL, character_table
from .findings import Finding
from .language import LanguageStage
from .settings import FilterSettings
from .texts import TextBatch
from .words import Replacer, WordFinder

__all__ = ["ROW_STAGES", "SET_STAGES", "RowStages"]

ROW_STAGES = ("empty", "broken text", "length", "blocklist", "scripts", "characters", "language", "repetition",
              "code and urls")  # fmt: skip
"""Stages that look at one row."""
SET_STAGES = ("rare characters", "duplicates")
"""Stages that look at the whole set."""

_Judge = Callable[[TextBatch], Mapping[int, Finding]]


@dataclass
class RowStages:
    """All of :data:`ROW_STAGES` but "empty", ready for many batches."""

    settings: FilterSettings
    table: np.ndarray = field(repr=False, default_factory=lambda: np.zeros(0, dtype=np.uint16))
    """Flags of every code point; made from the settings unless given."""

    def __post_init__(self) -> None:
        settings = self.settings
        if not len(self.table):
            self.table = character_table(settings.encoding, settings.scripts, settings.allowed_characters)
        self._words = WordFinder(settings.blocklist)
        self._replaced = WordFinder(tuple(settings.replacements))
        self._replace = Replacer(settings.replacements)
        self._stages = self._chosen()

    def judge(self, batch: TextBatch) -> dict[int, tuple[str, int, Finding]]:
        """Row -> (stage, text, finding) of the first stage that objects; rows that stay are left out."""
        dropped: dict[int, tuple[str, int, Finding]] = {}
        for name, judge in self._stages:
            objections = judge(batch)
            for text in sorted(objections):
                dropped.setdefault(int(batch.rows[text]), (name, text, objections[text]))
        return dropped

    def repairs(self, batch: TextBatch) -> dict[int, str]:
        """Text -> what it becomes, for texts with something to replace or to remove."""
        texts = set(batch.first_with(CONTROL)) if self.settings.remove_controls else set()
        if self.settings.replacements:
            texts |= set(self._replaced.first_in_texts(batch))
        return {text: self.repair(batch.texts[text]) for text in sorted(texts)}

    def repair(self, text: str) -> str:
        """Without control characters, and with the replacements made."""
        return self._replace(damage.CONTROLS.sub("", text) if self.settings.remove_controls else text)

    def _blocked(self, batch: TextBatch) -> dict[int, Finding]:
        hits = self._words.first_in_texts(batch)
        return {text: Finding(word, batch.around(position)) for text, (word, position) in hits.items()}

    def _chosen(self) -> list[tuple[str, _Judge]]:
        s, named = self.settings, self.settings.named_languages
        loop, shares = s.max_repeated_share, (s.max_url_share, s.max_code_share)
        stages: list[tuple[str, object, _Judge]] = [
            ("broken text", s.broken_text, lambda b: damage.damaged(b, controls_too=not s.remove_controls)),
            ("length", True, lambda b: length.wrong_length(b.texts, b.fields, s)),
            ("blocklist", s.blocklist, self._blocked),
            ("scripts", s.scripts, lambda b: foreign.unwanted_scripts(b, named_languages=named)),
            ("characters", s.encoding, lambda b: foreign.outside_encoding(b, str(s.encoding), named_languages=named)),
            ("language", s.language, LanguageStage(s)),
            ("repetition", loop is not None, lambda b: repetition.repeating(b, loop or 0)),
            ("code and urls", shares != (None, None), lambda b: code_urls.too_much_code_or_urls(b, s)),
        ]
        return [(name, judge) for name, on, judge in stages if on]
