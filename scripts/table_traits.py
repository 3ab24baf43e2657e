"""Traits of things: hand-written questions, and for which concepts and keywords the answer is yes, no or either.

``table_data/traits.txt`` holds the questions, ``concepts.txt`` what is said of WordNet's concepts (and so of all that
lies below them), ``things.txt`` what is said of the game's keywords themselves and ``common.txt`` what is said of other
everyday nouns. The nearest word on a trait counts; where nobody says anything, the definition's words may speak for it,
and then what is said of the keywords nearest in WordNet (``table_kin``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from table_wordnet import Synset, WordNet

__all__ = ["DATA", "FILES", "Card", "Trait", "Traits", "find_synset", "meant_senses", "rows", "word_set"]

DATA = Path(__file__).resolve().parent / "table_data"
OWN, INHERITED, EITHER, REFUSED = 0.95, 0.92, 0.5, 0.04
IN_DEFINITION, NEAR_DEFINITION, UNSAID, UNSAID_OF_KEYWORD = 0.46, 0.15, 0.05, 0.045
_WHAT_IT_IS = frozenset({
    "abstract", "alive", "animal", "bodypart", "building", "drinkable", "eat", "feeling", "fruity", "metal", "music",
    "person", "place", "plantlike", "touch", "tree", "veg", "weapon",
})  # fmt: skip
"""Traits that hold for all below a concept, however far below: a cow is no less an animal than a bird is."""
_DOUBT = 4.0  # definitions of average worth that are added to those seen when a trait's words are judged


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


def meant_senses(wordnet: WordNet) -> dict[str, Synset]:
    """The senses that ``words.txt`` fixes: by words of the definition, or as the first in a lexicographer file.

    Raises:
        KeyError: WordNet has no such sense; the message names all that are missing.
    """
    meant, missing = {}, []
    for line in rows("words.txt"):
        key, _, rest = line.partition(" | ")
        if key == "sense":
            word, text = rest.split(" | ")
            fits = [s for s in wordnet.senses.get(word, []) if text in s.definition]
            wanted = {word: fits[:1]}
        elif key.startswith("sense@"):
            file = FILES.index(key.partition("@")[2]) + 3
            wanted = {word: [s for s in wordnet.senses.get(word, []) if s.file == file][:1] for word in rest.split()}
        else:
            continue
        meant.update({word: found[0] for word, found in wanted.items() if found})
        missing += [f"{word} ({line})" for word, found in wanted.items() if not found]
    if missing:
        raise KeyError(f"WordNet has no such senses: {'; '.join(missing)}")
    return meant


class Traits:
    """All that the four files say, and how it is carried over to any WordNet noun."""

    def __init__(self, wordnet: WordNet) -> None:
        self.wordnet = wordnet
        wordnet.meant.update(meant_senses(wordnet))
        self.traits = [self._trait(line) for line in rows("traits.txt")]
        self._names = {trait.name for trait in self.traits}
        self._worth: dict[str, float] = {}
        self._spoken: dict[str, frozenset[str]] = {}
        self.concepts: dict[str, Card] = {}
        for line in rows("concepts.txt"):
            name, _, tags = line.partition(":")
            self.concepts[find_synset(wordnet, name).offset] = self._card(tags, yes=INHERITED)
        self.things: dict[str, tuple[str | None, Card]] = {}
        for line in rows("things.txt"):
            name, _, tags = line.partition(":")
            word, _, sense = (part.strip() for part in name.partition("="))
            self.things[word] = (sense or None, self._card(tags, yes=OWN))
        self.common = self._common()

    def _common(self) -> dict[str, Card]:
        """Cards of everyday nouns, from lists of nouns by trait."""
        tags: dict[str, list[str]] = {}
        for line in rows("common.txt"):
            tag, _, words = line.partition(":")
            if not re.fullmatch(r"[s$]\d[\d.]*", tag) and tag.strip("-~") not in self._names:
                raise ValueError(f"table_data/common.txt: {tag!r} is no trait of traits.txt, size (s2.5) or price ($3)")
            for word in words.split():
                tags.setdefault(word.strip("~").replace("_", " "), []).append(tag + "~" * word.endswith("~"))
        return {word: self._card(" ".join(said), yes=OWN) for word, said in tags.items()}

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

    def probabilities(
        self, synset: Synset | None, card: Card | None, text: str, *, common: Card | None = None
    ) -> tuple[dict[str, float], set[str]]:
        """P(yes) for each trait of a thing, and the traits that nobody says anything of.

        Its own card comes first, then what is said of it as an everyday noun, the nearest concept, the definition.
        """
        steps = self._steps(synset)
        said = self._inherited(steps)
        for own in (common, card):
            said.update(own.traits if own else {})
        spoken = self._speak(text)
        near = [self._speak(self.wordnet.synsets[o].definition) for o, distance in steps if 1 <= distance <= 2]
        result, unsaid = {}, set()
        for trait in self.traits:
            if trait.name in said:
                result[trait.name] = said[trait.name]
            elif trait.name in spoken:
                result[trait.name] = 0.45 if card else self._worth.get(trait.name, IN_DEFINITION)
            elif not card and any(trait.name in names for names in near):
                result[trait.name] = NEAR_DEFINITION
            else:
                result[trait.name] = UNSAID_OF_KEYWORD if card else UNSAID
                unsaid.add(trait.name)
        return result, unsaid

    def learn(self, entries: Iterable[tuple[Synset, Card, str]]) -> None:
        """Judge how often the words of a definition speak true, trait by trait, by the cards of the game's keywords.

        ``entries`` are synset, card and text (word and definition). Of all such words .46 spoke true.
        """
        seen, true = Counter[str](), Counter[str]()
        for synset, card, text in entries:
            said = self._inherited(self._steps(synset))
            for trait in self.traits:
                if trait.name not in said and trait.name in self._speak(text):
                    seen[trait.name] += 1
                    true[trait.name] += card.traits.get(trait.name, 0.0) > 0.5
        for name, count in seen.items():
            self._worth[name] = (true[name] + _DOUBT * IN_DEFINITION) / (count + _DOUBT)

    def _speak(self, text: str) -> frozenset[str]:
        """The traits that words of a definition speak for; remembered, since many things share a parent."""
        if text not in self._spoken:
            found = (trait.name for trait in self.traits if trait.pattern and trait.pattern.search(text))
            self._spoken[text] = frozenset(found)
        return self._spoken[text]

    def _inherited(self, steps: list[tuple[str, int]]) -> dict[str, float]:
        """P(yes) of the traits that concepts hand down, the nearest concept first."""
        said: dict[str, float] = {}
        for offset, distance in steps:
            for name, value in self.concepts.get(offset, Card()).traits.items():
                fade = 0.012 * distance if value > 0.5 and name not in _WHAT_IT_IS else 0.0
                said.setdefault(name, value - min(fade, 0.1))
        return said

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

    def measure(
        self, synset: Synset | None, card: Card | None, which: str, *, common: Card | None = None
    ) -> float | None:
        """The ``size`` or ``price`` of a thing on the scales of ``table_scales``, or None where nobody says it."""
        for own in (card, common):
            if own and getattr(own, which) is not None:
                return getattr(own, which)
        steps = self._steps(synset)
        found = (getattr(self.concepts[o], which) for o, _ in steps if o in self.concepts)
        return next((value for value in found if value is not None), None)
