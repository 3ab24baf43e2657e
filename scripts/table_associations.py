"""Questions such as "Does it have anything to do with dogs?", from names, notes on keywords, and definitions."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import numpy as np
from table_objects import Entry, head_sense
from table_taxonomy import Question
from table_traits import word_set
from table_wordnet import WordNet

__all__ = ["association_questions"]

IN_NAME, IN_OWN_DEFINITION, IN_PARENT, IN_MODIFIER, ABSENT = 0.93, 0.82, 0.45, 0.4, 0.05
_STOP = word_set("stop")
_MASS = word_set("mass")
_UNIQUE = word_set("unique")
_IRREGULAR = {
    "man": "men", "woman": "women", "child": "children", "foot": "feet", "tooth": "teeth", "mouse": "mice",
    "leaf": "leaves", "knife": "knives", "shelf": "shelves", "wolf": "wolves", "sheep": "sheep", "fish": "fish",
    "loaf": "loaves", "wife": "wives", "potato": "potatoes", "tomato": "tomatoes", "hero": "heroes", "half": "halves",
    "aircraft": "aircraft", "bacteria": "bacteria", "species": "species", "axis": "axes", "goose": "geese",
}  # fmt: skip


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]{3,}", text.lower()))


def association_questions(wordnet: WordNet, entries: list[Entry], zipf, *, least: int = 11) -> list[Question]:
    """All words that at least ``least`` things have to do with (a keyword counts for three)."""
    lemma = _lemmas(wordnet, zipf)
    strengths: dict[str, dict[int, float]] = defaultdict(dict)
    weight: Counter[str] = Counter()
    for index, entry in enumerate(entries):
        for word, strength in _of(entry, wordnet).items():
            word = lemma(word)
            if word:
                if strengths[word].get(index, 0) < strength:
                    strengths[word][index] = strength
                if strength >= 0.6:
                    weight[word] += 3 if entry.card else 1
    questions = []
    for word in sorted(strengths):
        if weight[word] < least or len(strengths[word]) > 0.2 * len(entries):
            continue
        column = np.full(len(entries), ABSENT, np.float32)
        column[list(strengths[word])] = list(strengths[word].values())
        questions.append((f"Does it have anything to do with {_spoken(wordnet, word, zipf)}?", "association", column))
    return questions


def _of(entry: Entry, wordnet: WordNet) -> dict[str, float]:
    """Words that have to do with a thing, with P(yes)."""
    found: dict[str, float] = {}

    def add(words, strength: float) -> None:
        for word in words:
            found[word] = max(found.get(word, 0.0), strength)

    if entry.place is not None:
        return found
    if entry.synset is not None:
        if entry.exact or entry.card:
            add(_words(entry.synset.definition), IN_OWN_DEFINITION if entry.exact else 0.6)
            add((w for name in entry.synset.words for w in name.lower().split()), IN_OWN_DEFINITION)
        for offset, distance in wordnet.ancestors(entry.synset).items():
            if 1 <= distance <= 2:
                add(_words(wordnet.synsets[offset].definition), IN_PARENT - 0.15 * (distance - 1))
            if 1 <= distance <= 4:
                add(wordnet.synsets[offset].words[:1], 0.85 if distance == 1 else 0.72 if distance == 2 else 0.45)
    parts = entry.word.split()
    for part in parts[:-1]:
        synset, _ = head_sense(wordnet, part)
        if synset is not None:
            add(_words(synset.definition), IN_MODIFIER)
    if entry.card:
        add(entry.card.words, 0.75)
        for word, strength in entry.card.words.items():
            add([word], strength)
    add(parts, IN_NAME)
    return found


def _lemmas(wordnet: WordNet, zipf):
    """A function from a word form to a common noun worth asking about, or None."""
    known: dict[str, str | None] = {}

    def lemma(form: str) -> str | None:
        if form not in known:
            known[form] = _noun(wordnet, zipf, form)
        return known[form]

    return lemma


def _noun(wordnet: WordNet, zipf, form: str) -> str | None:
    for end, rest in (("", ""), ("ies", "y"), ("es", ""), ("s", "")):
        stem = form[: len(form) - len(end)] + rest
        if form.endswith(end) and len(stem) >= 3 and stem in wordnet.senses and stem not in _STOP and form not in _STOP:
            if end == "" and form.endswith("s") and form[:-1] in wordnet.senses:
                continue
            count = sum(synset.counts.get(stem, 0) for synset in wordnet.senses[stem])
            concrete = wordnet.best_sense(stem).file in (5, 6, 8, 13, 17, 20, 27, 18, 19, 28, 12, 11)
            if wordnet.noun_share(stem) < 0.7 or not any(stem in synset.words for synset in wordnet.senses[stem]):
                return None
            return stem if zipf(stem) >= 3.4 and count >= 1 and (concrete or count >= 20) else None
    return None


def _spoken(wordnet: WordNet, word: str, zipf) -> str:
    """The word as it stands in the question: plural for what can be counted, with "the" for what there is one of."""
    if word in _UNIQUE:
        return f"the {word}"
    plural = word + ("es" if re.search(r"(?:s|x|z|ch|sh)$", word) else "s")
    plural = word[:-1] + "ies" if re.search(r"[^aeiou]y$", word) else _IRREGULAR.get(word, plural)
    countable = wordnet.best_sense(word).file in (5, 6, 8, 11, 14, 17, 18, 20) and zipf(plural) > zipf(word) - 1.6
    return plural if word not in _MASS and (countable or zipf(plural) > zipf(word) - 0.5) else word
