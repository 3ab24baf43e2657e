"""Questions that WordNet's own graph answers: kinds, parts, fields."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import numpy as np
from table_objects import Entry
from table_traits import find_synset, rows, word_set
from table_wordnet import Synset, WordNet

__all__ = ["Question", "a_or_an", "kind_questions", "part_questions", "topic_questions"]

Question = tuple[str, str, np.ndarray]
"""Text, family, P(yes) float32 [N]."""
YES, NEAR, OTHER_SENSE, NO = 0.95, 0.9, 0.25, 0.025
_UNSPOKEN = word_set("unspoken")

_SEVERAL = word_set("several")
_PARTS = _SEVERAL | word_set("parts")
_TOPICS = {
    "law": "law", "commerce": "trade and business", "geology": "geology", "medicine": "medicine", "chess": "chess",
    "military": "the military", "chemistry": "chemistry", "physics": "physics", "biology": "biology", "music": "music",
    "anatomy": "anatomy", "mathematics": "mathematics", "sport": "sports", "baseball": "baseball", "golf": "golf",
    "football": "football", "architecture": "architecture", "religion": "religion", "psychology": "psychology",
    "linguistics": "linguistics", "astronomy": "astronomy", "computer science": "computing", "botany": "botany",
    "economics": "economics", "politics": "politics", "philosophy": "philosophy", "photography": "photography",
    "cooking": "cooking", "art": "art", "electronics": "electronics", "zoology": "zoology", "sailing": "sailing",
    "tennis": "tennis", "basketball": "basketball", "theater": "the theater", "agriculture": "farming",
    "mining": "mining", "printing": "printing", "fishing": "fishing", "broadcasting": "radio and television",
    "genetics": "genetics", "dance": "dancing", "sewing": "sewing", "transport": "transport", "finance": "finance",
    "boxing": "boxing", "swimming": "swimming", "football game": "football", "ship": "ships", "bible": "the Bible",
}  # fmt: skip


def a_or_an(noun: str) -> str:
    """The noun with its article.

    >>> a_or_an("animal"), a_or_an("bird"), a_or_an("hour"), a_or_an("unit")
    ('an animal', 'a bird', 'an hour', 'a unit')
    """
    vowel = noun[0] in "aeiou" and not noun.startswith(("uni", "use", "eu", "one", "ut"))
    return f"{'an' if vowel or noun.startswith(('hour', 'honest', 'heir')) else 'a'} {noun}"


def _spoken_name(wordnet: WordNet, synset: Synset, zipf) -> str | None:
    """The commonest word that means this synset before anything else."""
    names = [name for name in synset.words if name == name.lower() and wordnet.best_sense(name.lower()) is synset]
    names = [name for name in names if zipf(name) >= (3.0 if " " not in name else 2.0) and len(name) > 2]
    names = [name for name in names if name not in _UNSPOKEN and name.split()[-1] not in _UNSPOKEN]
    return max(names, key=zipf, default=None)


def _wider_kinds(wordnet: WordNet) -> dict[str, tuple[list[str], dict[str, float]]]:
    """What ``kinds.txt`` adds to a kind: offsets of more concepts, and traits with the share of their P(yes)."""
    wider = {}
    for line in rows("kinds.txt"):
        name, concepts, traits = (part.strip() for part in line.split("|"))
        shares = {trait: float(share) for trait, share in (word.split("=") for word in traits.split())}
        wider[name] = ([find_synset(wordnet, concept).offset for concept in concepts.split()], shares)
    return wider


def kind_questions(
    wordnet: WordNet, entries: list[Entry], zipf, *, traits: dict[str, np.ndarray], least: int = 8
) -> list[Question]:
    """ "Is it a kind of bird?" for each spoken-of concept above at least ``least`` things.

    WordNet splits what people call by one name ("food" that is solid and other food), so ``kinds.txt`` joins concepts
    and says which of ``traits`` (columns float32 [N] by trait) make a thing one of a kind as well.
    """
    members: dict[str, list[tuple[int, float]]] = {}
    weight: Counter[str] = Counter()
    for index, entry in enumerate(entries):
        if entry.synset is None:
            continue
        above = wordnet.ancestors(entry.synset)
        for offset, distance in above.items():
            itself = distance == 0 and entry.exact
            members.setdefault(offset, []).append((index, 0.8 if itself else YES if entry.exact else NEAR))
            weight[offset] += 3 if entry.card else 1
        for other, share in entry.others:
            for offset in wordnet.ancestors(other):
                if offset not in above:
                    members.setdefault(offset, []).append((index, min(0.45, OTHER_SENSE * 2 * share + 0.02)))
    questions, seen, wider = [], set(), _wider_kinds(wordnet)
    for offset, found in members.items():
        name = _spoken_name(wordnet, wordnet.synsets[offset], zipf)
        if name is None or weight[offset] < least or name in seen:
            continue
        seen.add(name)
        column = np.full(len(entries), NO, np.float32)
        more, shares = wider.get(name, ([], {}))
        for index, value in chain(found, *(members.get(other, []) for other in more)):
            column[index] = max(column[index], value)
        for trait, share in shares.items():
            column = np.maximum(column, np.where(traits[trait] > 0.5, share * traits[trait], 0)).astype(np.float32)
        if not (name.endswith("s") and not name.endswith(("ss", "us"))):
            questions.append((f"Is it a kind of {name}?", "kind", column))
    return questions


def part_questions(wordnet: WordNet, entries: list[Entry], zipf, *, least: int = 6) -> list[Question]:
    """ "Does it have a wing?" for parts that WordNet gives to a thing or to what it is a kind of."""
    owners: dict[str, dict[int, float]] = {}
    for index, entry in enumerate(entries):
        if entry.synset is None:
            continue
        for offset, distance in wordnet.ancestors(entry.synset).items():
            for part in wordnet.synsets[offset].pointers.get("%p", []) + wordnet.synsets[offset].pointers.get("%s", []):
                owners.setdefault(part, {})[index] = 0.9 if distance < 3 else 0.82
    questions, seen = [], set()
    for part, found in owners.items():
        name = _spoken_name(wordnet, wordnet.synsets[part], zipf)
        if name not in _PARTS or len(found) < least or name in seen:
            continue
        seen.add(name)
        column = np.full(len(entries), 0.06, np.float32)
        for index, value in found.items():
            column[index] = value
        spoken = {"leaf": "leaves", "hoof": "hooves"}.get(name, name + "s") if name in _SEVERAL else a_or_an(name)
        questions.append((f"Does it normally have {spoken}?", "part", column))
    return questions


def topic_questions(wordnet: WordNet, entries: list[Entry], *, least: int = 10) -> list[Question]:
    """ "Is it a term from the world of medicine?" from WordNet's topic pointers."""
    members: dict[str, dict[int, float]] = {}
    for index, entry in enumerate(entries):
        if entry.synset is None:
            continue
        for offset, distance in wordnet.ancestors(entry.synset).items():
            if distance <= 3:
                for topic in wordnet.synsets[offset].pointers.get(";c", []):
                    for above, far in wordnet.ancestors(wordnet.synsets[topic]).items():
                        if far <= 1:
                            members.setdefault(above, {}).setdefault(index, 0.88 - 0.04 * (distance + far))
    questions, seen = [], set()
    for topic, found in members.items():
        name = next((_TOPICS[word] for word in wordnet.synsets[topic].words if word in _TOPICS), None)
        if name is None or len(found) < least or name in seen:
            continue
        seen.add(name)
        column = np.full(len(entries), 0.06, np.float32)
        for index, value in found.items():
            column[index] = value
        questions.append((f"Is it a term from the world of {name}?", "topic", column))
    return questions
