"""Traits of things: hand-written questions, and for which concepts and keywords the answer is yes, no or either.

``table_data/traits.txt`` holds the questions, ``concepts.txt`` what is said of WordNet's concepts (and so of all that
lies below them) and ``things.txt`` what is said of the game's keywords themselves. The nearest word on a trait counts;
where nobody says anything, the definition's words may speak for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from table_wordnet import Synset, WordNet

__all__ = ["DATA", "FILES", "Card", "Trait", "Traits", "find_synset", "rows", "word_set"]

DATA = Path(__file__).resolve().parent / "table_data"
OWN, INHERITED, EITHER, REFUSED = 0.95, 0.92, 0.5, 0.04
IN_DEFINITION, NEAR_DEFINITION, UNSAID, UNSAID_OF_KEYWORD = 0.58, 0.3, 0.05, 0.045


@dataclass(frozen=True)
class Trait:
    """A question, and the words in a definition that speak for a yes."""

    name: str
    question: str
    pattern: re.Pattern[str] | None


@dataclass
class Card:
    """What one line says: P(yes) by trait, size, price, and words that go with it (with their strength)."""

    traits: dict[str, float] = field(default_factory=dict)
    size: float | None = None
    price: float | None = None
    words: dict[str, float] = field(default_factory=dict)


def rows(name: str) -> list[str]:
    """The lines of a file in ``table_data`` that say something."""
    lines = (DATA / name).read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


FILES = tuple(line.split(" | ")[1] for line in rows("words.txt") if line.startswith("file | "))
"""WordNet's lexicographer files of nouns; the first is number 3."""


def word_set(name: str) -> frozenset[str]:
    """One of the lists in ``words.txt``."""
    found = [line.partition(" | ")[2].split() for line in rows("words.txt") if line.startswith(name + " | ")]
    if not found:
        raise KeyError(f"table_data/words.txt has no list {name!r}")
    return frozenset(word for words in found for word in words)


def find_synset(wordnet: WordNet, name: str) -> Synset:
    """The synset that ``word``, ``word@file`` or ``word.number`` names."""
    if "@" in name:
        word, _, file = name.partition("@")
        for synset in wordnet.senses.get(word.replace("_", " "), []):
            if FILES[synset.file - 3] == file:
                return synset
        raise KeyError(f"WordNet has no sense of {word!r} among {file!r}")
    if re.search(r"\.\d+$", name):
        return wordnet[name]
    return wordnet.best_sense(name.replace("_", " "))


class Traits:
    """All that the three files say, and how it is carried over to any WordNet noun."""

    def __init__(self, wordnet: WordNet) -> None:
        self.wordnet = wordnet
        fields = (line.split(" | ") for line in rows("words.txt") if line.startswith("sense | "))
        wordnet.meant.update({word: text for _, word, text in fields})
        self.traits = [self._trait(line) for line in rows("traits.txt")]
        self._names = {trait.name for trait in self.traits}
        self.concepts: dict[str, Card] = {}
        for line in rows("concepts.txt"):
            name, _, tags = line.partition(":")
            self.concepts[find_synset(wordnet, name).offset] = self._card(tags, yes=INHERITED)
        self.things: dict[str, tuple[str | None, Card]] = {}
        for line in rows("things.txt"):
            name, _, tags = line.partition(":")
            word, _, sense = (part.strip() for part in name.partition("="))
            self.things[word] = (sense or None, self._card(tags, yes=OWN))

    def _trait(self, line: str) -> Trait:
        name, question, pattern = line.split(" | ", 2)
        return Trait(name, question, None if pattern == "-" else re.compile(pattern, re.IGNORECASE))

    def _card(self, tags: str, *, yes: float) -> Card:
        card = Card()
        for tag in tags.split():
            if re.fullmatch(r"s\d[\d.]*", tag):
                card.size = float(tag[1:])
            elif re.fullmatch(r"\$\d[\d.]*", tag):
                card.price = float(tag[1:])
            else:
                word = tag.strip("~-")
                weak = "~" in tag or tag.endswith("-")
                strength = EITHER if weak else REFUSED if tag.startswith("-") else yes
                if word in self._names:
                    card.traits[word] = strength
                elif strength != REFUSED:
                    card.words[word] = 0.75 if tag.endswith("~") else 0.93
        return card

    def probabilities(self, synset: Synset | None, card: Card | None, text: str) -> dict[str, float]:
        """P(yes) for each trait of a thing: its own card first, then the nearest concept, then the definition."""
        steps = self._steps(synset)
        said: dict[str, float] = {}
        for offset, distance in steps:
            for name, value in self.concepts.get(offset, Card()).traits.items():
                fade = 0.012 * distance if value > 0.5 else 0.0
                said.setdefault(name, value - min(fade, 0.1))
        if card:
            said.update(card.traits)
        near = " ".join(self.wordnet.synsets[o].definition for o, distance in steps if 1 <= distance <= 2)
        result = {}
        for trait in self.traits:
            if trait.name in said:
                result[trait.name] = said[trait.name]
            elif trait.pattern and trait.pattern.search(text):
                result[trait.name] = 0.45 if card else IN_DEFINITION
            elif trait.pattern and not card and trait.pattern.search(near):
                result[trait.name] = NEAR_DEFINITION
            else:
                result[trait.name] = UNSAID_OF_KEYWORD if card else UNSAID
        return result

    def _steps(self, synset: Synset | None) -> list[tuple[str, int]]:
        """Hypernyms, nearest first; of a physical thing only the physical ones (a substance is also "a relation")."""
        if synset is None:
            return []
        steps = sorted(self.wordnet.ancestors(synset).items(), key=lambda item: item[1])
        physical = self.wordnet["physical_entity.1"].offset
        if any(offset == physical for offset, _ in steps):
            known = self.wordnet.synsets
            steps = [(o, d) for o, d in steps if physical in self.wordnet.ancestors(known[o])]
        return steps

    def measure(self, synset: Synset | None, card: Card | None, which: str) -> float | None:
        """The ``size`` or ``price`` of a thing on the scales of ``table_scales``, or None where nobody says it."""
        if card and getattr(card, which) is not None:
            return getattr(card, which)
        steps = self._steps(synset)
        found = (getattr(self.concepts[o], which) for o, _ in steps if o in self.concepts)
        return next((value for value in found if value is not None), None)
