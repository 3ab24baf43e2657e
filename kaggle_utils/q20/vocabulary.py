"""The words that the guesser considers, with a prior probability each.

The list is compiled by ``scripts/compile_vocabulary.py`` (sources and licences: ``data/LICENSES.txt``) and ships as a
gzip text: one header line of JSON, then ``word<TAB>code`` per line, where a word's weight is ``2 ** -(code / 4)``.
The module knows nothing of questions and answers; ``belief`` combines the two.
"""

from __future__ import annotations

import gzip
import json
import operator
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from kaggle_utils.q20.protocol import keywords_match, normalize

__all__ = ["Vocabulary", "load_vocabulary"]

_SHIPPED = Path(__file__).with_name("data") / "vocabulary.txt.gz"
_CODES_PER_BIT = 4  # weights are stored as 2 ** -(code / 4)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Candidate keywords in Python's string order and the probability that each is the keyword.

    >>> fruits = Vocabulary.from_weights({"pear": 1, "apple": 3})
    >>> fruits.words, fruits.probabilities.tolist()
    (('apple', 'pear'), [0.75, 0.25])
    """

    words: tuple[str, ...]
    """Lower-case words, sorted as Python compares strings, no word twice."""
    probabilities: np.ndarray
    """float64 [V], not negative, sum 1."""

    def __post_init__(self) -> None:
        problems = _problems(self.words, self.probabilities)
        if problems:
            raise ValueError("not a vocabulary: " + "; ".join(problems))
        self.probabilities.setflags(write=False)

    @classmethod
    def from_weights(cls, weights: Mapping[str, float]) -> Vocabulary:
        """Build a vocabulary from words with any positive weights; they are lower-cased, sorted and normalised."""
        merged: dict[str, float] = {}
        for word, weight in weights.items():
            merged[word.lower()] = merged.get(word.lower(), 0.0) + float(weight)
        words = tuple(sorted(merged))
        masses = np.array([merged[word] for word in words], dtype=np.float64)
        if not len(words) or not np.isfinite(masses).all() or masses.min() < 0 or masses.sum() <= 0:
            raise ValueError(
                f"{len(words)} words with weights {masses[:5]}...: "
                "expected at least one word, finite weights, none negative, one positive"
            )
        return cls(words, masses / masses.sum())

    def __len__(self) -> int:
        return len(self.words)

    def index_of(self, word: str) -> int | None:
        """Return the index of ``word`` (any case), or None where it is not in the list."""
        wanted = word.lower()
        index = bisect_left(self.words, wanted)
        return index if index < len(self.words) and self.words[index] == wanted else None

    def matching(self, guess: str) -> list[int]:
        """Return the indices of all words that the environment takes for ``guess`` (case, "the", plural s/es).

        >>> Vocabulary.from_weights({"cat": 1, "cats": 1, "the cat": 1, "dog": 1}).matching("Cat")
        [0, 1, 3]
        """
        form = normalize(guess)
        stems = [form, form + "s", form + "es", *(form[: -len(end)] for end in ("s", "es") if form.endswith(end))]
        candidates = sorted({index for stem in stems for index in self._indices_of(stem)})
        return [index for index in candidates if keywords_match(guess, self.words[index])]

    def _indices_of(self, form: str) -> list[int]:
        last, others = self._by_form
        return [*others.get(form, ()), last[form]] if form in last else []

    @cached_property
    def _by_form(self) -> tuple[dict[str, int], dict[str, list[int]]]:
        """Normalised form -> last index with it, and the other indices; all words are normalised as one text."""
        forms = normalize("\n".join(self.words)).split("\n")
        last = dict(zip(forms, range(len(forms)), strict=True))
        others: dict[str, list[int]] = {}
        if len(last) < len(forms):
            for index, form in enumerate(forms):
                if last[form] != index:
                    others.setdefault(form, []).append(index)
        return last, others


def load_vocabulary(path: str | Path | None = None) -> Vocabulary:
    """Read a compiled vocabulary, by default the shipped one; the same path is read once per process.

    Raises FileNotFoundError or ValueError, each with the path, for a file that is absent or not of this format.
    """
    return _load(Path(path) if path is not None else _SHIPPED)


@lru_cache(maxsize=4)
def _load(path: Path) -> Vocabulary:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        header, _, body = file.read().partition("\n")
    try:
        expected = json.loads(header)["entries"]
        fields = body.replace("\n", "\t").split("\t")  # word, code, word, code, ..., and "" after the last line
        words, codes = tuple(fields[:-1:2]), np.array(list(map(int, fields[1::2])), dtype=np.float64)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a vocabulary ({error}); expected a JSON header and word<TAB>code lines; "
            "compile it again with scripts/compile_vocabulary.py"
        ) from error
    if not len(words) == len(codes) == expected:
        raise ValueError(
            f"{path} holds {len(words)} words, its header says {expected}: the file is cut short or damaged"
        )
    weights = np.exp2(-codes / _CODES_PER_BIT)
    return Vocabulary(words, weights / weights.sum())


def _problems(words: tuple[str, ...], probabilities: np.ndarray) -> list[str]:
    """What is wrong, all of it; written for speed, since a submission's first turn waits for it."""
    problems = []
    if probabilities.shape != (len(words),) or probabilities.dtype != np.float64:
        found = f"{probabilities.dtype} {probabilities.shape}"
        problems.append(f"probabilities are {found}, expected float64 {(len(words),)}")
    elif not (np.isfinite(probabilities).all() and (probabilities >= 0).all() and abs(probabilities.sum() - 1) < 1e-6):
        problems.append(f"probabilities must be finite, not negative and sum to 1, the sum is {probabilities.sum()}")
    if not all(map(operator.lt, words, words[1:])):
        at = next(index for index, pair in enumerate(pairwise(words)) if pair[0] >= pair[1])
        problems.append(f"{words[at]!r} stands before {words[at + 1]!r}: words must be sorted, none may come twice")
    joined = "\n".join(words)
    if joined != joined.lower() or (words and not words[0]):
        at = next(word for word in words if not word or word != word.lower())
        problems.append(f"{at!r} must be lower-case and not empty")
    return problems
