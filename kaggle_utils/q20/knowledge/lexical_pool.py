"""Which questions on the spelling are worth having for a list of words.

Plain ones first (first letter, letters inside, lengths, alphabetical thresholds), then sets of letters drawn so that
each question splits the words evenly and no two of them split alike: their answers correct one another's errors. Every
text is one that ``questions.parse_question`` reads and that ``spelled`` computes for all words at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from kaggle_utils.q20.knowledge.spelled import ORDINALS, Spelling
from kaggle_utils.q20.questions import alphabetical_question

__all__ = ["choose_texts"]

_ALPHABET = "abcdefghijklmnopqrstuvwxyz"
_RAREST = 0.02  # share of yes or of no below which a question tells too little
_ALIKE = 0.9  # correlation above which two questions are one
_ORDER = "alphabetical"  # exempt: thresholds close together are what a bisection ends with
_CHUNK = 256  # candidates that are computed together
_SET_WORDINGS = [
    ("Does the keyword start with one of the letters {}?", "or", "first letter", 1.0),
    ("Does the keyword contain any of the letters {}?", "or", "letters inside", 0.95),
    ("Does the keyword end with one of the letters {}?", "or", "last letter", 0.95),
    ("Is the second letter of the keyword one of {}?", "or", "letter at a place", 0.9),
    ("Is the third letter of the keyword one of {}?", "or", "letter at a place", 0.9),
    ("Does the last word of the keyword start with one of the letters {}?", "or", "first letter", 0.9),
    ("Is the fourth letter of the keyword one of {}?", "or", "letter at a place", 0.85),
    ("Is the second to last letter of the keyword one of {}?", "or", "letter at a place", 0.85),
    ("Does the last word of the keyword end with one of the letters {}?", "or", "last letter", 0.85),
    ("Does the first word of the keyword end with one of the letters {}?", "or", "last letter", 0.85),
    ("Is the fifth letter of the keyword one of {}?", "or", "letter at a place", 0.85),
]
_SIMPLE = re.compile(r"[a-z]+(?: [a-z]+)*")  # a threshold that nobody can read in two ways
_Candidate = tuple[str, str, float]
"""Text, family, clarity."""


def choose_texts(words: Sequence[str], prior: np.ndarray, *, count: int, seed: int = 0) -> list[_Candidate]:
    """Return up to ``count`` questions as (text, family, clarity); ``prior`` float64 [N] sums to 1."""
    spelling, weights = Spelling(words), np.sqrt(np.asarray(prior, dtype=np.float32))
    chosen: list[_Candidate] = []
    rows = np.zeros((count, len(words)), dtype=np.float32)  # chosen columns: centred, weighted, of length 1
    for batch in _batches(_candidates(spelling, prior, count, np.random.default_rng(seed)), seen=set()):
        fresh, usable = _standardised(spelling, [text for text, _, _ in batch], weights)
        order = np.array([family == _ORDER for _, family, _ in batch])
        alike = np.abs(fresh @ rows[: len(chosen)].T).max(axis=1, initial=0.0) > _ALIKE
        start = len(chosen)
        for index in np.flatnonzero(order | (usable & ~alike)).tolist():
            if order[index] or np.abs(rows[start : len(chosen)] @ fresh[index]).max(initial=0.0) <= _ALIKE:
                rows[len(chosen)] = fresh[index]
                chosen.append(batch[index])
                if len(chosen) == count:
                    return chosen
    return chosen


def _standardised(spelling: Spelling, texts: list[str], weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns as unit vectors under the prior, float32 [k, N], and which of them split the words enough."""
    signs = np.stack([spelling.answers(text) for text in texts]).astype(np.float32)
    share = signs @ (weights * weights)
    columns = (signs - share[:, None]) * weights
    columns /= np.maximum(np.linalg.norm(columns, axis=1, keepdims=True), 1e-9)
    return columns, (share >= _RAREST) & (share <= 1 - _RAREST)


def _batches(candidates: Iterator[_Candidate], *, seen: set[str]) -> Iterator[list[_Candidate]]:
    batch: list[_Candidate] = []
    for candidate in candidates:
        if candidate[0] not in seen:
            seen.add(candidate[0])
            batch.append(candidate)
        if len(batch) == _CHUNK:
            yield batch
            batch = []
    if batch:
        yield batch


def _candidates(spelling: Spelling, prior: np.ndarray, count: int, random: np.random.Generator) -> Iterator[_Candidate]:
    yield from _plain()
    yield from _thresholds(spelling.words, prior, steps=1 << max(count // 6, 2).bit_length() - 1)
    yield from _places()
    masses = [_letter_masses(spelling, wording, prior) for wording, *_ in _SET_WORDINGS]
    for _ in range(max(count, 100)):  # far more than are kept: a pool that stays short has nothing more to offer
        for (wording, join, family, clarity), mass in zip(_SET_WORDINGS, masses, strict=True):
            letters = _even_set(mass, random, inside=family == "letters inside")
            if len(letters) > 1:
                yield wording.format(_listed(letters, join)), family, clarity


def _plain() -> Iterator[_Candidate]:
    """What everybody would ask."""
    yield "Does the keyword consist of more than one word?", "words", 1.0
    yield "Does the keyword consist of exactly two words?", "words", 1.0
    for letters in range(3, 20):
        yield f"Does the keyword have more than {letters} letters?", "length", 0.95
    for letter in _ALPHABET:
        yield f"Does the keyword start with the letter '{letter}'?", "first letter", 1.0
        yield f"Does the keyword contain the letter '{letter}'?", "letters inside", 1.0
        yield f"Does the keyword end with the letter '{letter}'?", "last letter", 1.0
    for vowels in range(1, 7):
        yield f"Does the keyword contain more than {vowels} vowels?", "length", 0.9
    for letter in _ALPHABET:
        yield f"Does the keyword contain the letter '{letter}' more than once?", "letters inside", 0.9
    yield "Does the keyword contain a double letter?", "letters inside", 0.9
    yield "Does the keyword have an even number of letters?", "length", 0.85
    yield "Does the keyword have an even number of vowels?", "length", 0.85


def _places() -> Iterator[_Candidate]:
    for place, number in ORDINALS.items():
        clarity = 1.0 if number in (1, -1) else 0.95 if number == 2 else 0.85
        yield f"Is the {place} letter of the keyword a vowel?", "letter at a place", clarity
        for end in "fghjklmopr":
            yield (
                f"Is the {place} letter of the keyword between 'a' and '{end}' in the alphabet?",
                "letter at a place",
                clarity,
            )
    for word in ("first", "last"):
        for letter in _ALPHABET:
            yield f"Does the {word} word of the keyword end with the letter '{letter}'?", "last letter", 0.9
    for letter in _ALPHABET:
        yield f"Does the last word of the keyword start with the letter '{letter}'?", "first letter", 0.95
        yield f"Is the second letter of the keyword '{letter}'?", "letter at a place", 0.95


def _thresholds(words: Sequence[str], prior: np.ndarray, *, steps: int) -> Iterator[_Candidate]:
    """Alphabetical thresholds at equal steps of probability, coarse ones first; ``steps`` is a power of two."""
    usable = [i for i in sorted(range(len(words)), key=words.__getitem__) if _SIMPLE.fullmatch(words[i])]
    mass = np.cumsum(np.asarray(prior)[usable])
    if not usable or mass[-1] <= 0:
        return
    for step in sorted(range(1, steps), key=lambda step: (-(step & -step), step)):
        at = int(np.searchsorted(mass, mass[-1] * step / steps))
        yield alphabetical_question(words[usable[min(at, len(usable) - 1)]]), _ORDER, 0.8


def _letter_masses(spelling: Spelling, wording: str, prior: np.ndarray) -> np.ndarray:
    """Probability of the answer yes for each single letter, float64 [26]."""
    answers = [spelling.answers(wording.format(_listed(letter, "or"))) for letter in _ALPHABET]
    return np.stack(answers) @ np.asarray(prior, dtype=np.float64)


def _even_set(mass: np.ndarray, random: np.random.Generator, *, inside: bool) -> str:
    """A random set of letters whose answer is about as often yes as no."""
    target, none, chosen = random.uniform(0.42, 0.58), 1.0, []
    total = 0.0
    for letter in random.permutation(26).tolist():
        after = 1 - none * (1 - mass[letter]) if inside else total + mass[letter]
        if mass[letter] < 0.004 or after > target + 0.08:
            continue
        chosen.append(letter)
        none, total = none * (1 - mass[letter]), after
        if total >= target - 0.04 or len(chosen) == 12:
            break
    return "".join(_ALPHABET[letter] for letter in sorted(chosen))


def _listed(letters: str, join: str) -> str:
    """How people list letters: 'a', 'b' or 'c'."""
    quoted = [f"'{letter}'" for letter in letters]
    return f" {join} ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))
