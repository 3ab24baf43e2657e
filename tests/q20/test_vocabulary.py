"""The shipped word list: well formed, complete, loaded fast, and every word within reach of twenty rounds."""

from __future__ import annotations

import gzip
import json
import random
import re
import subprocess
import sys
from bisect import bisect_left
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import kaggle_utils.q20
from kaggle_utils.q20.belief import Belief
from kaggle_utils.q20.protocol import keywords_match
from kaggle_utils.q20.questions import alphabetical_question, parse_question
from kaggle_utils.q20.vocabulary import Vocabulary, load_vocabulary

DATA = Path(kaggle_utils.q20.__file__).parent / "data"
QUESTIONS_BEFORE_FIRST_SPLIT = 1  # the handshake; a guess follows it all the same


@pytest.fixture(scope="module")
def vocabulary():
    return load_vocabulary()


@pytest.fixture(scope="module")
def keywords():
    rows = json.loads((DATA / "keywords.json").read_text(encoding="utf-8"))["keywords"]
    return sorted({" ".join(row["word"].lower().split()) for row in rows})


def rounds_to_find(vocabulary, targets, limit=20):
    """Round in which bisection with a guess each round names the target, None if not within ``limit``.

    Plays with Belief's own choices on the words still between the answers; positions reached before are remembered.
    """
    moves: dict[tuple, tuple] = {}

    def move(low, high, guessed):
        key = (low, high, guessed)
        if key not in moves:
            weights = vocabulary.probabilities[low:high].copy()
            weights[[g - low for g in guessed]] = 0.0
            belief = Belief(SimpleNamespace(words=vocabulary.words[low:high]), weights)
            guess, split = belief.best_guess(), belief.bisection_word()
            moves[key] = tuple(w if w is None else bisect_left(vocabulary.words, w, low, high) for w in (guess, split))
        return moves[key]

    for target in targets:
        at = vocabulary.index_of(target)
        low, high, guessed = 0, len(vocabulary), ()
        found = None
        for round_number in range(1, limit + 1):
            if round_number > QUESTIONS_BEFORE_FIRST_SPLIT:
                split = move(low, high, guessed)[1]
                if split is not None:
                    low, high = (low, split) if at < split else (split, high)
                    guessed = tuple(g for g in guessed if low <= g < high)
            guess = move(low, high, guessed)[0]
            if guess is not None and keywords_match(vocabulary.words[guess], target):
                found = round_number
                break
            if guess is not None:
                guessed = tuple(sorted((*guessed, guess)))
        yield target, found


def test_size_and_order(vocabulary):
    assert len(vocabulary) >= 60_000
    assert list(vocabulary.words) == sorted(set(vocabulary.words))
    assert all(
        word == word.lower() == word.strip() and '"' not in word and len(word) <= 100 for word in vocabulary.words
    )
    assert abs(vocabulary.probabilities.sum() - 1) < 1e-9
    assert vocabulary.probabilities.min() > 2**-21


def test_every_keyword_of_the_game_is_in(vocabulary, keywords):
    missing = [word for word in keywords if vocabulary.index_of(word) is None]
    assert not missing
    assert 0.3 <= sum(vocabulary.probabilities[vocabulary.index_of(word)] for word in keywords) <= 0.5


@pytest.mark.parametrize(
    "word", ["cat", "fire truck", "potato", "ice cream", "screwdriver", "yoga mat", "smartphone", "headphones"]
)
def test_everyday_things_are_in(vocabulary, word):
    assert vocabulary.index_of(word) is not None


def test_known_keywords_outweigh_strangers(vocabulary):
    def p(word):
        return vocabulary.probabilities[vocabulary.index_of(word)]

    assert p("screwdriver") > 20 * p("gratitude")
    assert p("hammer") > p("gratitude") > 0, "a thing is likelier than a feeling"


def test_keywords_are_found_in_twenty_rounds(vocabulary, keywords):
    rounds = dict(rounds_to_find(vocabulary, keywords))
    assert [word for word, found in rounds.items() if found is None] == []
    assert np.mean(list(rounds.values())) < 14


def test_random_words_are_found_in_twenty_rounds(vocabulary):
    targets = random.Random(0).sample(vocabulary.words, 2000)
    missed = [word for word, found in rounds_to_find(vocabulary, targets) if found is None]
    assert len(missed) <= 20, f"{len(missed)} of 2000 not found: {missed[:10]}"


def test_own_question_tells_every_pair_of_neighbours_apart(vocabulary):
    """Odd spellings too: a final dot, an apostrophe, "the" or "it" as a word must not change the bound that is read."""
    odd = [
        i
        for i, word in enumerate(vocabulary.words)
        if i and re.search(r"[^a-z -]|\b(?:the|it|its|word|letter|or|and)\b", word)
    ]
    rng = random.Random(2)
    for index in [*rng.sample(odd, 1500), *rng.sample(range(1, len(vocabulary)), 500)]:
        before, word = vocabulary.words[index - 1 : index + 1]
        rule = parse_question(alphabetical_question(word))
        assert rule is not None and rule.family == "order", word
        assert (rule.holds(before), rule.holds(word)) == (True, False), word


def test_loads_in_a_second_without_heavy_modules():
    code = (
        "import time; t = time.process_time();"
        "from kaggle_utils.q20.vocabulary import load_vocabulary; load_vocabulary();"
        "s = time.process_time() - t; import sys; print(s, *({'torch', 'pandas', 'transformers'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, *heavy = result.stdout.split()
    assert float(seconds) < 3, "under a second on an idle machine"
    assert heavy == []


def test_same_path_is_read_once():
    assert load_vocabulary() is load_vocabulary()


def test_data_is_small_and_licensed():
    assert (DATA / "vocabulary.txt.gz").stat().st_size < 1_500_000
    licences = (DATA / "LICENSES.txt").read_text(encoding="utf-8")
    with gzip.open(DATA / "vocabulary.txt.gz", "rt", encoding="utf-8") as file:
        for source in json.loads(file.readline())["sources"]:
            assert source.split("@")[0].split("==")[0] in licences, f"{source} has no licence text"


def test_matching_is_the_environments():
    words = Vocabulary.from_weights(dict.fromkeys(["cat", "cats", "the cat", "catch", "box", "boxes", "as", "a"], 1))
    for guess in ("Cat", "cats", "BOX", "boxes", "a", "as", "dog", "", "?!"):
        expected = [i for i, word in enumerate(words.words) if keywords_match(guess, word)]
        assert words.matching(guess) == expected, guess


def test_bad_input_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="sorted"):
        Vocabulary(("b", "a"), np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match="sum"):
        Vocabulary(("a", "b"), np.array([0.5, 0.6]))
    with pytest.raises(ValueError, match="at least one word"):
        Vocabulary.from_weights({})


@pytest.mark.parametrize(
    "content", [b"", b"cat\t1\n", b'{"entries": 2}\na\t0\n', b'{"entries": 1}\na\tx\n', b'{"entries": 1}\na\n']
)
def test_damaged_files_are_named(tmp_path, content):
    path = tmp_path / "words.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match=r"words\.gz"):
        load_vocabulary(path)


def test_absent_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        load_vocabulary(tmp_path / "absent.gz")
