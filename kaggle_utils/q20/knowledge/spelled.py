"""Answers to questions on the spelling for a whole list of words at once.

``questions.parse_question`` decides one word in a microsecond or two, which is half a minute for 16,000 words and 1,000
questions. The wordings of ``lexical_pool`` are computed here for all words together, in some microseconds each; every
other question falls back to its rule. The answers are those of the rules: tests compare them word by word.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from kaggle_utils.q20.questions import parse_question

__all__ = ["ORDINALS", "Spelling"]

ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "last": -1, "second to last": -2}
"""Places of a letter that a question may name; counted from the end where negative."""

_ALPHABET = "abcdefghijklmnopqrstuvwxyz"
_PLACE = "|".join(ORDINALS)
_PATTERNS = {
    "edge": re.compile(
        r"Does the (?:(first|second|last) word of the )?keyword (start|end) with "
        r"(?:one of the letters ((?:'[a-z]',? ?(?:or )?)+)|the letter '([a-z])')\?"
    ),
    "place": re.compile(
        rf"Is the ({_PLACE}) letter of the keyword "
        rf"(?:one of ((?:'[a-z]',? ?(?:or )?)+)|'([a-z])'|between '([a-z])' and '([a-z])' in the alphabet|(a vowel))\?"
    ),
    "any": re.compile(
        r"Does the keyword contain (?:any of the letters ((?:'[a-z]',? ?(?:or )?)+)|the letter '([a-z])')\?"
    ),
    "all": re.compile(r"Does the keyword contain all of the letters ((?:'[a-z]',? ?(?:and )?)+)\?"),
    "twice": re.compile(r"Does the keyword contain the letter '([a-z])' more than once\?"),
    "more": re.compile(r"Does the keyword (?:have|contain) more than (\d+) (letters|vowels|words)\?"),
    "even": re.compile(r"Does the keyword have an even number of (letters|vowels)\?"),
    "words": re.compile(r"Does the keyword consist of (more than one word|exactly (two|three) words)\?"),
    "order": re.compile(r'Does the keyword \(in lowercase\) precede "([a-z]+(?: [a-z]+)*)" in alphabetical order\?'),
    "doubled": re.compile(r"Does the keyword contain a double letter\?"),
}  # fmt: skip


def _bits(letters: str) -> np.uint32:
    """A set of letters as a bit mask; anything but a to z is no letter of it."""
    return np.uint32(sum(1 << _ALPHABET.index(letter) for letter in set(letters) if letter in _ALPHABET))


def _quoted(text: str) -> np.uint32:
    return _bits("".join(re.findall(r"'([a-z])'", text)))


class Spelling:
    """The letters of a list of words as arrays, and from them whole columns of answers.

    Memory is 4 bytes for each word and character of the longest word, four times that while it is built.

    >>> Spelling(["cat", "Dog house", "emu"]).answers("Does the keyword contain the letter 'a'?").tolist()
    [True, False, False]
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(" ".join(word.lower().split()) for word in words)

    def answers(self, text: str) -> np.ndarray:
        """Return the true answer of every word, bool [N].

        Raises:
            ValueError: no rule decides this question.
        """
        for name, pattern in _PATTERNS.items():
            match = pattern.fullmatch(text)
            if match:
                return getattr(self, f"_{name}")(match)
        rule = parse_question(text)
        if rule is None:
            raise ValueError(
                f"{text!r} is no question on the spelling that parse_question reads; "
                "store its answers in the table, with lexical=False"
            )
        return np.fromiter(map(rule.holds, self.words), dtype=bool, count=len(self.words))

    @cached_property
    def _codes(self) -> np.ndarray:
        """Code points, uint32 [longest, N], 0 after the end: one row for each place in the word."""
        array = np.array(self.words)
        return np.ascontiguousarray(array.view(np.uint32).reshape(len(array), -1).T)

    @cached_property
    def _present(self) -> np.ndarray:
        return np.array(sorted({ord(letter) for letter in set("".join(self.words))}), dtype=np.int64)

    def _is(self, test: Callable[[str], bool]) -> np.ndarray:
        """Where a character passes a test of ``str``, bool [longest, N]."""
        table = np.zeros(int(self._present.max(initial=0)) + 1, dtype=bool)
        table[self._present] = [test(chr(code)) for code in self._present.tolist()]
        return table[self._codes]

    @cached_property
    def _alpha(self) -> np.ndarray:
        return self._is(str.isalpha)

    @cached_property
    def _alnum(self) -> np.ndarray:
        return self._is(str.isalnum)

    @cached_property
    def _masks(self) -> np.ndarray:
        """The bit of each character, uint32 [longest, N], 0 for anything but a to z."""
        table = np.zeros(27, dtype=np.uint32)
        table[:26] = np.uint32(1) << np.arange(26, dtype=np.uint32)
        return table[np.minimum(self._codes - np.uint32(ord("a")), 26)]  # wraps around below "a"

    @cached_property
    def _inside(self) -> tuple[np.ndarray, np.ndarray]:
        """The letters that occur, and those that occur more than once, uint32 [N] each."""
        once = np.zeros(len(self.words), dtype=np.uint32)
        twice = np.zeros_like(once)
        for mask in self._masks:
            twice |= once & mask
            once |= mask
        return once, twice

    @cached_property
    def _word_number(self) -> np.ndarray:
        """Which word a character belongs to, from 0, int16 [longest, N]."""
        return np.cumsum(self._codes == ord(" "), axis=0, dtype=np.int16)

    @cached_property
    def _counts(self) -> dict[str, np.ndarray]:
        vowels = (self._masks & _bits("aeiou")) != 0
        return {
            "letters": self._alpha.sum(axis=0, dtype=np.int16),
            "vowels": vowels.sum(axis=0, dtype=np.int16),
            "words": self._word_number[-1] + 1,
        }

    @cached_property
    def _rank(self) -> tuple[np.ndarray, list[str]]:
        order = sorted(range(len(self.words)), key=self.words.__getitem__)
        rank = np.empty(len(order), dtype=np.int32)
        rank[order] = np.arange(len(order), dtype=np.int32)
        return rank, [self.words[index] for index in order]

    @cached_property
    def _places(self) -> dict[tuple[str, int], np.ndarray]:
        return {}

    def _letter(self, place: int, word: str = "") -> np.ndarray:
        """The bit of the letter or digit at a place of the keyword, or of one of its words, uint32 [N]."""
        if (word, place) not in self._places:
            usable = self._alnum
            if word:
                number = self._counts["words"] - 1 if word == "last" else np.int16(ORDINALS[word] - 1)
                usable = usable & (self._word_number == number)
            step = 1 if place > 0 else -1
            running = np.zeros(len(self.words), dtype=np.int16)
            found = np.zeros(len(self.words), dtype=np.uint32)
            for here, mask in zip(usable[::step], self._masks[::step], strict=True):
                running += here
                found |= np.where(here & (running == abs(place)), mask, np.uint32(0))
            self._places[word, place] = found
        return self._places[word, place]

    def _edge(self, match: re.Match[str]) -> np.ndarray:
        letters = _quoted(match[3]) if match[3] else _bits(match[4])
        return (self._letter(1 if match[2] == "start" else -1, match[1] or "") & letters) != 0

    def _place(self, match: re.Match[str]) -> np.ndarray:
        if match[2]:
            letters = _quoted(match[2])
        elif match[4]:
            letters = _bits(_ALPHABET[_ALPHABET.index(match[4]) : _ALPHABET.index(match[5]) + 1])
        else:
            letters = _bits(match[3] or "aeiou")
        return (self._letter(ORDINALS[match[1]]) & letters) != 0

    def _any(self, match: re.Match[str]) -> np.ndarray:
        return (self._inside[0] & (_quoted(match[1]) if match[1] else _bits(match[2]))) != 0

    def _all(self, match: re.Match[str]) -> np.ndarray:
        letters = _quoted(match[1])
        return (self._inside[0] & letters) == letters

    def _twice(self, match: re.Match[str]) -> np.ndarray:
        return (self._inside[1] & _bits(match[1])) != 0

    def _more(self, match: re.Match[str]) -> np.ndarray:
        return self._counts[match[2]] > int(match[1])

    def _even(self, match: re.Match[str]) -> np.ndarray:
        return self._counts[match[1]] % 2 == 0

    def _words(self, match: re.Match[str]) -> np.ndarray:
        words = self._counts["words"]
        return words == {"two": 2, "three": 3}[match[2]] if match[2] else words > 1

    def _order(self, match: re.Match[str]) -> np.ndarray:
        rank, ordered = self._rank
        return rank < bisect_left(ordered, match[1])

    def _doubled(self, match: re.Match[str]) -> np.ndarray:
        return ((self._codes[1:] == self._codes[:-1]) & self._alpha[1:]).any(axis=0)
