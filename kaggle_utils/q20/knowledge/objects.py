"""The things that the keyword may be: canonical word, other names, category, prior.

Two objects whose names the environment's matcher takes for one another share a class: a guess tests them together.
The module knows nothing of questions. Everything is held in columns, so that tens of thousands of objects load fast.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kaggle_utils.q20.protocol import keywords_match, normalize

__all__ = ["Objects", "Thing"]


@dataclass(frozen=True)
class Thing:
    """One thing that may be the keyword."""

    word: str
    """Canonical name, as it is guessed."""
    aliases: tuple[str, ...] = ()
    """Other names that the environment accepts for it."""
    category: str = "things"
    """"things", "place" or any other label."""
    prior: float = 1.0
    """Relative weight before the first question; that of an object in ``Objects`` is its probability."""


class Objects(Sequence[Thing]):
    """An immutable sequence of things with normalised priors.

    Building costs O(number of names), about 60 ms for 16,000 objects, most of it for the classes.

    >>> objects = Objects([Thing("cat", ("feline",), prior=3), Thing("Dogs"), Thing("cats"), Thing("dog house")])
    >>> objects.words, objects.prior.round(2).tolist(), objects.match_class.tolist()
    (('cat', 'Dogs', 'cats', 'dog house'), [0.5, 0.17, 0.17, 0.17], [0, 1, 0, 2])
    >>> objects.index_of("The dog"), objects.index_of("feline"), objects.index_of("mouse")
    (1, 0, None)
    """

    words: tuple[str, ...]
    aliases: tuple[tuple[str, ...], ...]
    categories: tuple[str, ...]
    prior: np.ndarray
    """float64 [N], not negative, sum 1; read-only."""

    def __init__(self, things: Iterable[Thing]) -> None:
        things = tuple(things)
        self._set(
            tuple(thing.word for thing in things),
            tuple(tuple(thing.aliases) for thing in things),
            tuple(thing.category for thing in things),
            np.array([thing.prior for thing in things], dtype=np.float64),
        )

    @classmethod
    def from_columns(
        cls,
        words: Sequence[str],
        aliases: Sequence[Sequence[str]],
        categories: Sequence[str],
        prior: np.ndarray,
        *,
        match_class: np.ndarray | None = None,
    ) -> Objects:
        """Build from parallel columns, ``prior`` in any positive scale; ``match_class`` int32 [N] where it is known.

        Raises:
            ValueError: columns of unequal length, an empty word, a prior that is no weight; all problems at once.
        """
        self = cls.__new__(cls)
        self._set(tuple(words), tuple(map(tuple, aliases)), tuple(categories), np.asarray(prior, dtype=np.float64))
        if match_class is not None:
            if len(match_class) != len(self.words):
                raise ValueError(f"match_class holds {len(match_class)} numbers for {len(self.words)} objects")
            self.__dict__["match_class"] = np.asarray(match_class, dtype=np.int32)
        return self

    def _set(
        self,
        words: tuple[str, ...],
        aliases: tuple[tuple[str, ...], ...],
        categories: tuple[str, ...],
        weights: np.ndarray,
    ) -> None:
        problems = _problems(words, aliases, categories, weights)
        if problems:
            raise ValueError("not a list of objects: " + "; ".join(problems))
        self.words, self.aliases, self.categories = words, aliases, categories
        self.prior = weights / weights.sum()
        self.prior.setflags(write=False)

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        return Thing(self.words[index], self.aliases[index], self.categories[index], float(self.prior[index]))

    def __iter__(self) -> Iterator[Thing]:
        return map(Thing, self.words, self.aliases, self.categories, self.prior.tolist())

    def __repr__(self) -> str:
        return f"Objects({len(self)}: {', '.join(self.words[:3])}, ...)"

    def names(self, index: int) -> tuple[str, ...]:
        """Return the word and the other names of an object."""
        return (self.words[index], *self.aliases[index])

    def subset(self, indices: Sequence[int] | np.ndarray) -> Objects:
        """Return the objects at ``indices``, in that order, with the prior normalised anew."""
        indices = np.asarray(indices, dtype=np.int64)
        chosen = indices.tolist()
        classes = self.__dict__.get("match_class")  # may be finer anew where a link is left out, so numbers stay as is
        return Objects.from_columns(
            [self.words[i] for i in chosen],
            [self.aliases[i] for i in chosen],
            [self.categories[i] for i in chosen],
            self.prior[indices],
            match_class=None if classes is None else np.unique(classes[indices], return_inverse=True)[1].reshape(-1),
        )

    @cached_property
    def match_class(self) -> np.ndarray:
        """Class of each object, int32 [N] from 0: equal where the word of one is accepted for the other."""
        owners: dict[str, list[int]] = {}
        for form, index in zip(*self._names, strict=True):
            owners.setdefault(form, []).append(index)
        parent = list(range(len(self)))
        for index, form in enumerate(_forms(self.words)):
            for other in (other for near in _near(form) for other in owners.get(near, ())):
                a, b = _root(parent, index), _root(parent, other)
                parent[max(a, b)] = min(a, b)
        roots = [_root(parent, index) for index in range(len(self))]
        return np.unique(roots, return_inverse=True)[1].reshape(-1).astype(np.int32)

    def index_of(self, text: str) -> int | None:
        """Return the object that the environment takes ``text`` for, the most probable of several, else None."""
        found = self.matching(text)
        return max(found, key=lambda index: (self.prior[index], -index)) if found else None

    def matching(self, text: str) -> list[int]:
        """Return all objects that the environment takes ``text`` for, by word or other name, in order."""
        owners = self._owners
        candidates = {index for near in _near(normalize(text)) for index in owners.get(near, ())}
        return sorted(i for i in candidates if keywords_match(text, self.words[i], self.aliases[i]))

    def guess_text(self, index: int) -> str:
        """Return the name of an object that wins for most of its class's probability; the word where names tie.

        >>> Objects([Thing("feline", ("cat",)), Thing("cat")]).guess_text(0)
        'cat'
        """
        if np.count_nonzero(self.match_class == self.match_class[index]) == 1:
            return self.words[index]
        return max(self.names(index), key=lambda name: self.prior[self.matching(name)].sum())

    @cached_property
    def _names(self) -> tuple[list[str], list[int]]:
        """Normalised form of every name, and whose it is."""
        texts = [name for index in range(len(self)) for name in self.names(index)]
        owners = [index for index in range(len(self)) for _ in range(1 + len(self.aliases[index]))]
        return _forms(texts), owners

    @cached_property
    def _owners(self) -> dict[str, list[int]]:
        owners: dict[str, list[int]] = {}
        for form, index in zip(*self._names, strict=True):
            owners.setdefault(form, []).append(index)
        return owners


def _forms(texts: Sequence[str]) -> list[str]:
    """All names as the environment compares them; normalised as one text, which is ten times as fast."""
    if not texts:
        return []
    return normalize("\n".join(text.replace("\n", " ") for text in texts)).split("\n")


def _near(form: str) -> list[str]:
    """The forms that match ``form``: itself, and a final s or es more or less where both have three characters."""
    if len(form) < 3:
        return [form]
    shorter = [form[: -len(end)] for end in ("s", "es") if form.endswith(end)]
    return [form, form + "s", form + "es", *(text for text in shorter if len(text) >= 3)]


def _root(parent: list[int], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index


def _problems(
    words: tuple[str, ...], aliases: tuple[tuple[str, ...], ...], categories: tuple[str, ...], weights: np.ndarray
) -> list[str]:
    problems = []
    if not len(words) == len(aliases) == len(categories) == len(weights):
        problems.append(
            f"{len(words)} words, {len(aliases)} lists of aliases, {len(categories)} categories, {len(weights)} priors"
        )
    if not words:
        problems.append("there is no object")
    if not (all(type(word) is str for word in words) and all(map(str.strip, words))):  # quick: every game loads this
        empty = [index for index, word in enumerate(words) if not isinstance(word, str) or not word.strip()]
        problems.append(f"{len(empty)} words are empty or no text, the first at {empty[0]}: {words[empty[0]]!r}")
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        problems.append(f"priors must be finite, not negative, one positive; got {weights[:5]}...")
    return problems
