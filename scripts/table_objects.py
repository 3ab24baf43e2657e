"""Which things the table knows, in which sense each is meant, and how likely it is as a keyword.

The game's keywords come first; then WordNet's more common nouns, concrete ones before others; then places.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from table_geography import Gazetteer, Place, plain
from table_traits import Card, Traits, find_synset
from table_wordnet import CONCRETE_FILES, Synset, WordNet

__all__ = [
    "CITY_PEOPLE",
    "NOUNS",
    "SYNONYM_ZIPF",
    "Entry",
    "choose_objects",
    "head_sense",
    "same_word",
    "spelled_twice",
]

NOUNS = 15_900
"""WordNet nouns beside the keywords and places."""
CITY_PEOPLE = 600_000
SYNONYM_ZIPF = 3.2
_SHARES = {"things": 0.45, "place": 0.15, "nouns": 0.36, "more places": 0.04}
"""Prior of the game's two lists, of other nouns and of other places."""


_GONE = {"serbia and montenegro", "netherlands antilles", "palestinian territory", "republic of the congo", "czechia",
         "eswatini", "the netherlands"}  # fmt: skip


@dataclass
class Entry:
    """A thing, in the sense in which it is meant."""

    word: str
    category: str
    prior: float
    aliases: tuple[str, ...] = ()
    synset: Synset | None = None
    exact: bool = True
    """Whether the synset is the thing itself and not only what it is a kind of."""
    card: Card | None = None
    common: Card | None = None
    """What is said of it as an everyday noun."""
    listed: bool = False
    """Whether it is one of the game's own keywords."""
    place: Place | None = None
    others: list[tuple[Synset, float]] = field(default_factory=list)
    """Other senses with their share."""


def choose_objects(wordnet: WordNet, traits: Traits, gazetteer: Gazetteer, zipf, keywords: Path) -> list[Entry]:
    """The whole list, keywords first, no name twice but where the game itself has two things of one name."""
    from kaggle_utils.q20.protocol import normalize

    entries = _keywords(wordnet, traits, gazetteer, keywords)
    taken = {normalize(name) for entry in entries for name in (entry.word, *entry.aliases)}
    more = [*_more_places(gazetteer, zipf), *_nouns(wordnet, traits, zipf)]
    for entry in more:
        names = [name for name in entry.aliases if not _forms(normalize(name)) & taken]
        if not _forms(normalize(entry.word)) & taken:
            entry.aliases = tuple(names)
            taken |= {normalize(name) for name in (entry.word, *names)}
            entries.append(entry)
    nouns = [entry for entry in entries if entry.category == "nouns"]
    keep = {id(entry) for entry in nouns[:NOUNS]}
    entries = [entry for entry in entries if entry.category != "nouns" or id(entry) in keep]
    totals = {kind: sum(e.prior for e in entries if e.category == kind) for kind in _SHARES}
    for entry in entries:
        entry.prior *= _SHARES[entry.category] / totals[entry.category]
        entry.category = {"nouns": "things", "more places": "place"}.get(entry.category, entry.category)
    return entries


def _forms(text: str) -> set[str]:
    """What the game's matcher takes for the same word."""
    return {text, text + "s", text + "es", text.removesuffix("s"), text.removesuffix("es")}


def head_sense(wordnet: WordNet, word: str) -> tuple[Synset | None, bool]:
    """The likeliest sense of a word or of its longest last part that WordNet knows, and whether it was the whole."""
    parts = word.split()
    for start in range(len(parts)):
        text = " ".join(parts[start:])
        for end, rest in (("", ""), ("ies", "y"), ("es", ""), ("s", ""), ("ves", "f")):
            stem = text[: len(text) - len(end)] + rest
            if text.endswith(end) and stem in wordnet.senses:
                return wordnet.best_sense(stem), start == 0
    return None, False


def _keywords(wordnet: WordNet, traits: Traits, gazetteer: Gazetteer, path: Path) -> list[Entry]:
    entries, seen = [], set()
    for row in json.loads(path.read_text(encoding="utf-8"))["keywords"]:
        word, category = " ".join(row["word"].lower().split()), row["category"]
        aliases = tuple(alias.lower() for alias in row["alts"])
        if (word, category) in seen:
            twin = next(entry for entry in entries if (entry.word, entry.category) == (word, category))
            twin.aliases = tuple(dict.fromkeys(twin.aliases + aliases))
            continue
        seen.add((word, category))
        entry = Entry(word, category, 1.0, aliases, listed=True)
        if category == "place":
            entry.place = gazetteer.find(word)
        else:
            sense, entry.card = traits.things.get(word, (None, None))
            entry.synset, entry.exact = head_sense(wordnet, word)
            entry.common = traits.common.get(word)
            if sense:
                entry.synset = find_synset(wordnet, sense)
                entry.exact = word in (name.lower() for name in entry.synset.words)
        entries.append(entry)
    return entries


def _more_places(gazetteer: Gazetteer, zipf) -> list[Entry]:
    entries = []
    for code, facts in gazetteer.countries.items():
        if facts["population"] > 20_000 and plain(facts["name"]) not in _GONE:
            entries.append(Entry(plain(facts["name"]), "more places", 3.0, place=gazetteer.country(code)))
    names = {code: name for name, code in gazetteer.states.items()}
    for city in gazetteer.cities:
        if city["population"] >= CITY_PEOPLE and re.fullmatch(r"[a-z .'-]+", plain(city["name"])):
            place = gazetteer.city(city)
            land = names.get(place.state) or plain(gazetteer.countries[place.countries[0]]["name"])
            prior = 10 ** (0.3 * (zipf(place.name) - 3))
            entries.append(Entry(f"{place.name} {land}", "more places", prior, (place.name,), place=place))
    return entries


def _nouns(wordnet: WordNet, traits: Traits, zipf) -> list[Entry]:
    """Common nouns, the likeliest first: frequent, concrete, no names of persons, no scientific names.

    Those of ``common.txt`` come before all others, also where they are verbs as well (drill) or written large (moon).
    """
    scored = []
    for word, senses in wordnet.senses.items():
        common = traits.common.get(word)
        frequency = zipf(word)
        if not re.fullmatch(r"[a-z][a-z '-]{1,30}[a-z]", word) or (frequency < 1.5 and not common):
            continue
        best = wordnet.best_sense(word)
        rare = best.counts.get(word, 0) <= 1
        name = rare and any(sense.instance or not any(w == word for w in sense.words) for sense in senses)
        symbol = len(word) <= 2 or (rare and len(word) == 3 and best.file == 27)
        if not common and (
            best.instance
            or name
            or symbol
            or wordnet.noun_share(word) < 0.2
            or (frequency > 6.2 and rare)
            or not any(w == word for w in best.words)
        ):
            continue
        if re.search(r"^(?:genus|family|order|class) |(?:idae|aceae)$", word):
            continue
        bonus = 1.3 if best.file in CONCRETE_FILES else 0.5 if best.file in (15, 18, 19, 10, 11, 14, 21) else 0.0
        weight = {6: 4.0, 13: 4.0}.get(best.file, 1.5 if best.file in CONCRETE_FILES else 0.6)
        total = sum(s.counts.get(word, 0) + 1 for s in senses)
        others = [(s, (s.counts.get(word, 0) + 1) / total) for s in senses if s is not best][:3]
        entry = Entry(word, "nouns", weight * 10 ** (0.3 * (frequency - 3)), synset=best, others=others)
        entry.common = common
        scored.append((frequency + bonus + (9.0 if common else 0.0), word, entry))
    ranked = [entry for _, _, entry in sorted(scored, key=lambda item: (-item[0], item[1]))]
    return _without_rare_synonyms(ranked, zipf)


def _without_rare_synonyms(ranked: list[Entry], zipf) -> list[Entry]:
    """Of the words of one meaning the likeliest, and others only where they are common.

    Another spelling of a word that is kept (organisation) becomes a further name of it.
    """
    kept: list[Entry] = []
    first: dict[str, list[Entry]] = {}
    for entry in ranked:
        known = first.setdefault(entry.synset.offset, [])
        same = next((other for other in known if same_word(other.word, entry.word)), None)
        if same is not None:
            same.aliases += (entry.word,)
        elif not known or entry.common or zipf(entry.word) >= SYNONYM_ZIPF:
            known.append(entry)
            kept.append(entry)
    return kept


def spelled_twice(entries: list[Entry]) -> dict[int, int]:
    """Which entries are other spellings of an earlier one, though their likeliest senses differ; index by index.

    Only nouns that are no keywords: of those the game itself says what it accepts.
    """
    first: dict[str, list[int]] = {}
    found = {}
    for index, entry in enumerate(entries):
        if entry.listed or entry.synset is None:
            continue
        known = first.setdefault(_plain_spelling(entry.word, _REGIONAL), [])
        same = next((other for other in known if _shares_a_sense(entries[other], entry)), None)
        if same is None:
            known.append(index)
        else:
            found[index] = same
    return found


def _shares_a_sense(one: Entry, other: Entry) -> bool:
    senses = (sense for entry in (one, other) for sense in (entry.synset, *(sense for sense, _ in entry.others)))
    return any({one.word, other.word} <= set(sense.words) for sense in senses)


def same_word(one: str, other: str) -> bool:
    """Whether two words are one in different spellings, such as British and American ones.

    >>> [same_word(*pair) for pair in (("organization", "organisation"), ("counseling", "counselling"), ("ax", "axe"))]
    [True, True, True]
    >>> same_word("donut", "doughnut"), same_word("plane", "airplane"), same_word("hot dog", "hotdog")
    (True, False, True)
    """
    return _plain_spelling(one, _REGIONAL + _LOOSE) == _plain_spelling(other, _REGIONAL + _LOOSE)


def _plain_spelling(word: str, rules: tuple[tuple[str, str], ...]) -> str:
    """What spellings of one word share: American endings, no doubled letters, hyphens or blanks."""
    for pattern, plain_text in rules:
        word = re.sub(pattern, plain_text, word)
    return word


_REGIONAL = (
    (r"[ '-]", ""), (r"ough(?=nut)", "o"), (r"is(?=e|at|ing|er|abl)", "iz"), (r"ys(?=e)", "yz"),
    (r"our(?=$|s$|a|e|i|l)", "or"), (r"re(?=$|s$)", "er"), (r"ogue(?=$|s$)", "og"), (r"ence(?=$|s$)", "ense"),
    (r"ae|oe", "e"), (r"(?<=m)me(?=$|s$)", ""), (r"grey", "gray"), (r"yre", "ire"), (r"ph", "f"),
    (r"([a-z])\1", r"\1"),
)  # fmt: skip
_LOOSE = ((r"que(?=$|s$)", "k"), (r"(?<=..)e(?=$|s$)", ""))
"""Such words mean one thing only where nothing else does (ax, axe), not in general (mat, matte)."""
