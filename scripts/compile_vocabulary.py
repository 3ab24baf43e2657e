"""Compile ``kaggle_utils/q20/data/vocabulary.txt.gz``: nouns with a probability each, and every keyword of the game.

Usage:  python scripts/compile_vocabulary.py [--work FOLDER] [--output FILE]

Fetches the sources with npm and pip into FOLDER (default: a temporary one), and prints what the list covers. The same
sources give the same bytes. A word's probability is a mixture: the game's known keywords share a fixed part, a part
goes to all words by kind and frequency, and a part is spread evenly, so that every word can be reached by bisection
within twenty rounds.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

import vocabulary_sources as sources

__all__ = [
    "CODES_PER_BIT",
    "COMPOUNDS",
    "CONCRETE",
    "DATA",
    "EVEN_SHARE",
    "KIND_FACTOR",
    "ROOT",
    "SHARES",
    "frequent_pairs",
    "kind_factor",
    "likely_compounds",
    "main",
    "mix",
    "report",
    "score_words",
    "single_words",
    "singular",
    "write",
]

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for the matcher in the report, also where the package is not installed
DATA = ROOT / "kaggle_utils" / "q20" / "data"
SHARES = {"things": 0.30, "place": 0.08}
"""Parts of the probability that the known keywords of a category share evenly."""
EVEN_SHARE = 0.37
"""Part that is spread evenly over all words; what remains follows ``score``."""
CODES_PER_BIT = 4
COMPOUNDS = 100_000
KIND_FACTOR = {
    **dict.fromkeys(("artifact", "food"), 8.0),
    **dict.fromkeys(("animal", "plant", "body", "substance", "object"), 3.0),
    **dict.fromkeys(("phenomenon", "communication", "group", "location", "possession", "shape", "event"), 1.0),
}
CONCRETE = {"artifact", "food", "animal", "plant", "body", "substance", "object"}


def kind_factor(noun: sources.Noun, word: str) -> float:
    """How likely a word of these senses is to be a thing that one would have to guess."""
    best = max(KIND_FACTOR.get(kind, 0.3) / (1 + rank) ** 0.5 for rank, kind in enumerate(noun.kinds))
    scientific = re.search(r"^(?:genus|family|order|class|subfamily|phylum|suborder) |(?:idae|aceae|ales)$", word)
    return best * (0.05 if scientific else 0.2 if noun.instance else 1.0)


def singular(word: str, nouns: dict[str, sources.Noun]) -> str | None:
    """The noun that ``word`` is a plural of, or ``word`` itself where it is a noun."""
    if word in nouns:
        return word
    endings = (("ies", "y"), ("es", ""), ("s", ""))
    return next((word[: -len(e)] + r for e, r in endings if word.endswith(e) and word[: -len(e)] + r in nouns), None)


def single_words(nouns, zipf, listed: list[str], others: set[str]) -> dict[str, float]:
    """Words outside WordNet: plurals of concrete nouns, and frequent words not known as another part of speech."""
    scores = {}
    for word in listed:
        frequency = zipf(word)
        if frequency < 1.2 or word in nouns or not re.fullmatch(r"[a-z]{3,24}", word):
            continue
        stem = singular(word, nouns)
        if stem and CONCRETE & set(nouns[stem].kinds[:3]):
            scores[word] = kind_factor(nouns[stem], stem) * 10 ** (0.35 * (frequency - 3)) * 0.7
        elif not stem and frequency >= 2.0 and not _inflected(word, others):
            scores[word] = 0.25 * 10 ** (0.35 * (frequency - 3))
    return scores


def _inflected(word: str, others: set[str]) -> bool:
    endings = ("s", "es", "ed", "ing", "ings", "er", "est", "ly")
    cut = {word[: -len(ending)] for ending in endings if word.endswith(ending)}
    stems = {word} | cut | {stem + "e" for stem in cut}
    return bool(stems & others) or any(stem[-1:] == stem[-2:-1] and stem[:-1] in others for stem in stems)


def frequent_pairs(nouns, counts: Counter[str]) -> dict[str, float]:
    """Pairs of nouns that books use, better where the second is concrete."""
    scores = {}
    for pair, count in counts.items():
        first, second = pair.split()
        head = singular(second, nouns)
        if head and singular(first, nouns) and pair not in nouns and min(len(first), len(second)) > 1:
            scores[pair] = 0.15 * kind_factor(nouns[head], head) * 10 ** (0.2 * (math.log10(count) - 5.5))
    return scores


def likely_compounds(nouns, zipf, counts: Counter[str], taken: set[str]) -> dict[str, float]:
    """Modifier + head, scored by how productive the head is in WordNet's own compounds for things.

    Two keywords in three are compounds such as "yoga mat" that no list holds; this adds the most regular ones.
    """
    pairs = [word.split() for word in nouns if word.count(" ") == 1 and nouns[word].kinds[0] in ("artifact", "food")]
    modified, headed = Counter(first for first, _ in pairs), Counter(second for _, second in pairs)
    books = Counter(singular(pair.split()[1], nouns) for pair in counts)
    heads = {h: n + 0.5 * min(books[h], 20) for h, n in headed.items()
             if n >= 2 and h in nouns and {"artifact", "food"} & set(nouns[h].kinds)}  # fmt: skip
    modifiers = {}
    for word, noun in nouns.items():
        if re.fullmatch(r"[a-z]{3,14}", word) and (frequency := zipf(word)) >= 3:
            concrete = 2.0 if noun.kinds[0] in CONCRETE else 1.0 if CONCRETE & set(noun.kinds[:2]) else 0.25
            modifiers[word] = concrete * 10 ** (0.45 * (frequency - 3)) * (1 + modified[word]) ** 0.3
    top_modifiers = sorted(modifiers, key=modifiers.get, reverse=True)[:4000]
    scored = [(modifiers[m] * heads[h], f"{m} {h}") for m in top_modifiers for h in heads if m != h]
    scored = sorted((item for item in scored if item[1] not in taken), key=lambda item: (-item[0], item[1]))[:COMPOUNDS]
    return {pair: 0.15 * (score / scored[0][0]) ** 0.3 for score, pair in scored}


def score_words(folder: Path) -> dict[str, float]:
    """All words but the game's keywords, with a positive score each."""
    nouns, counts, others = sources.wordnet_nouns(folder), sources.bigrams(folder), sources.other_words(folder)
    zipf, listed = sources.frequencies()
    scores = {word: kind_factor(noun, word) * 10 ** (0.35 * (zipf(word) - 3)) for word, noun in nouns.items()}
    found = (single_words(nouns, zipf, listed, others), frequent_pairs(nouns, counts),
             dict.fromkeys(sources.places(100_000), 0.5))  # fmt: skip
    for more in found:
        scores.update({word: score for word, score in more.items() if word not in scores})
    scores.update(likely_compounds(nouns, zipf, counts, set(scores)))
    return {word: score for word, score in scores.items() if sources.WORD.fullmatch(word)}


def mix(scores: dict[str, float], keywords: dict[str, set[str]]) -> dict[str, float]:
    """Probabilities of all words and keywords; they sum to 1."""
    words = set(scores) | set(keywords)
    total, rest = sum(scores.values()), 1 - EVEN_SHARE - sum(SHARES.values())
    sizes = Counter(category for categories in keywords.values() for category in categories)
    mixed = {}
    for word in words:
        known = sum(SHARES[category] / sizes[category] for category in keywords.get(word, ()))
        mixed[word] = EVEN_SHARE / len(words) + rest * scores.get(word, 0.0) / total + known
    return mixed


def write(probabilities: dict[str, float], output: Path) -> None:
    """Write the compiled list, reproducibly and at once."""
    best = max(probabilities.values())
    header = {
        "entries": len(probabilities),
        "format": f"word<TAB>code, weight 2**-(code/{CODES_PER_BIT})",
        "sources": [sources.WORDNET, *sources.PYTHON_SOURCES, "keywords.json"],
        "licences": "LICENSES.txt",
    }
    lines = [f"{word}\t{round(-math.log2(p / best) * CODES_PER_BIT)}" for word, p in sorted(probabilities.items())]
    partial = output.with_name(output.name + ".partial")
    with partial.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
        file.write(("\n".join([json.dumps(header), *lines]) + "\n").encode())
    partial.replace(output)


def report(scores: dict[str, float], probabilities: dict[str, float], keywords: dict[str, set[str]]) -> None:
    """Print size, entropy, and how many keywords the list would hold had they not been added."""
    from kaggle_utils.q20.protocol import normalize

    forms = {normalize(word) for word in scores}
    forms |= {form + end for form in forms for end in ("s", "es")}
    forms |= {form[: -len(end)] for form in forms for end in ("s", "es") if form.endswith(end)}
    print(f"{len(probabilities):,} words, entropy {-sum(p * math.log2(p) for p in probabilities.values()):.2f} bits, "
          f"least probability 2**{math.log2(min(probabilities.values())):.2f}")  # fmt: skip
    for category in sorted(SHARES):
        words = [word for word, categories in keywords.items() if category in categories]
        exact, matched = sum(w in scores for w in words), sum(normalize(w) in forms for w in words)
        print(f"{category}: {len(words)} keywords; without adding them {exact / len(words):.1%} exact, "
              f"{matched / len(words):.1%} by the environment's matcher")  # fmt: skip


def main() -> None:
    """Fetch, score, mix, write, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="folder that keeps the fetched sources")
    parser.add_argument("--output", type=Path, default=DATA / "vocabulary.txt.gz")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.work or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        sources.fetch(folder)
        keywords = sources.game_keywords(DATA / "keywords.json")
        scores = score_words(folder)
        probabilities = mix(scores, keywords)
        write(probabilities, options.output)
        report(scores, probabilities, keywords)
    print(f"{options.output}: {options.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
