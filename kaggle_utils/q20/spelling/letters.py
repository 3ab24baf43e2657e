"""Rules about what a keyword is spelled with: first and last letters, letters inside, lengths, counts, spaces.

"Letters" counts letters alone, "characters" and "length" count spaces and hyphens too; words are separated by spaces.
Each rule takes canonical text (``text``), what is asked of the keyword, and returns None unless it fully
understands it. ``names_word`` says that the question speaks of a keyword, word or name: "does it contain numbers" may
well be about a clock, "does the keyword contain numbers" is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

from kaggle_utils.q20.spelling.letter_sets import (
    CONSONANTS,
    VOWELS,
    Rule,
    letter_set,
    list_items,
    number_test,
    single_letters,
)

__all__ = ["containment_rule", "count_rule", "edge_rule", "letters_rule", "presence_rule"]

_HAVE = (
    "(?:contain(?:s|ing)?|includ(?:e|es|ing)|have|has|having|use|uses|feature|features|got|possess|comprises?|"
    "(?:spelled|spelt|written) with)"
)
_MADE_OF = (
    "(?:(?:have|has|contain|contains|include|includes|consists? (?:only )?of|consisting of|comprises?|composed of|"
    "comprised of|made (?:up )?(?:of|from|with)|formed (?:of|by|from|with)|written (?:as|with)|be|is|use|uses|a|an|"
    "total|in total|only|just|length|of) )*"
)
_COUNT = re.compile(
    rf"{_MADE_OF}(.+?)[- ](letter|character|word|vowel|consonant|space|digit)s?"
    r"((?: (?:long|in length|in total|total|words?|phrase|term|keyword|name|noun|answer|item|thing))*)"
)
_OR_MORE = re.compile(r"\b(\w+) (letters?|characters?|words?|vowels?) or (more|less|fewer)\b")
_SPACES = re.compile(
    r"[ ,(]*(excluding|not counting|not including|ignoring|without|including|counting)(?: any| the)? spaces?\)?"
)
_UNITS: dict[str, Callable[[str], int]] = {
    "letter": lambda text: sum(map(str.isalpha, text)),
    "character": len,
    "word": lambda text: len(text.split()),
    "vowel": lambda text: sum(c in VOWELS for c in text),
    "consonant": lambda text: sum(c in CONSONANTS for c in text),
    "space": lambda text: text.count(" "),
    "digit": lambda text: sum(map(str.isdigit, text)),
}
_NAMED_UNITS = {"character", "space", "digit"}


def _doubled(text: str) -> bool:
    return any(a == b and a.isalpha() for a, b in pairwise(text))


def _repeated(text: str) -> bool:
    return any(text.count(c) > 1 for c in set(text) if c.isalpha())


_ANY = "(?:any |an? |at least one )?"
_NAMED_PRESENT: list[tuple[str, Callable[[str], bool]]] = [
    (rf"{_ANY}(?:blank )?(?:white)?spaces?(?: characters?)?", lambda text: " " in text),
    (rf"{_ANY}(?:digits?|numbers?|numerals?|numeric characters?)", lambda text: any(map(str.isdigit, text))),
]
_PRESENT: list[tuple[str, Callable[[str], bool]]] = [
    (rf"{_ANY}(?:hyphens?|dash(?:es)?)(?: characters?)?", lambda text: "-" in text),
    (rf"{_ANY}apostrophes?", lambda text: "'" in text or "’" in text),
    (rf"{_ANY}vowels?", lambda text: any(c in VOWELS for c in text)),
    (
        rf"{_ANY}(?:pairs? of )?(?:double|doubled|(?:consecutive|adjacent) (?:identical|repeated)|"
        r"(?:identical|repeated|repeating) (?:consecutive|adjacent)) (?:letters?|characters?)",
        _doubled,
    ),
    (
        r"(?:two|2) (?:identical|same|of the same|equal) (?:consecutive |adjacent )?letters? "
        r"(?:in a row|next to each other|consecutively)|the same letter (?:twice|two times) in a row",
        _doubled,
    ),
    (
        r"(?:any |a )?(?:repeated|repeating|duplicate|duplicated) letters?|any letters? (?:more than once|twice)|"
        r"the same letter (?:more than once|at least twice)",
        _repeated,
    ),
    (r"only (?:unique|distinct|different) letters", lambda text: not _repeated(text)),
]
_NAMED_PRESENT = [(re.compile(rf"{_HAVE} (?:{pattern})"), test) for pattern, test in _NAMED_PRESENT]
_PRESENT = [(re.compile(rf"{_HAVE} (?:{pattern})"), test) for pattern, test in _PRESENT]
_EDGE = re.compile(
    r"(?:be |is )?(start|begin|end|finish|terminate)(?:s|ing|es)? (?:with|in|by|on|from)(?: either)? (.+)"
)
_AFFIX_LEAD = re.compile(
    r"(?:any of |one of |either )?(?:the )?(?:following )?(?:letters?|prefix(?:es)?|suffix(?:es)?|strings?|characters?|"
    r"syllable|sequence|letter sequence)?:? ?(?=\")"
)
_WITHIN = re.compile(
    rf"{_HAVE} "
    r"((?:at least one of |at least one |either |any of |any |one of |one or more of |both |all of |all )?)(.+)"
)
_TIMES = re.compile(
    r'(?:the )?(?:letter )?"?([a-z0-9])"? '
    r"((?:more than|at least|exactly|less than|only) (?:once|twice|\w+ times)|twice|once)"
)
_COUNTED = re.compile(
    rf"{_HAVE} (.+?) (?:of )?(?:the )?(?:letters? (\"?)([a-z])\2(?:'?s)?|\"([a-z])\"(?:'?s)?|([a-z])'s)(?: in total)?"
)
_FROM_WORD = re.compile(
    rf"{_HAVE} (any|one|all|at least one)(?: of)?(?: the)? letters? (?:from|in|of)(?: the word)? \"([a-z]{{2,}})\""
)
_LETTERS_LEAD = re.compile(r"(?:the |these |following |single |an? )*(?:(?:letters?|characters?)\b)?(?: of| in)?"
                           r"(?: the)?(?: following| these)?(?: letters?\b| characters?\b)?:? ?(?=.)")  # fmt: skip
_STRING = re.compile(
    rf"{_HAVE} (?:the )?(?:exact )?(word|substring|string|sequence|letters|letter sequence|letter combination|"
    r"sequence of letters|combination|syllable|phrase|term|text)? ?\"([^\"]+)\"(?: as a (?:substring|word|part))?"
)


def edge_rule(asked: str) -> Rule | None:
    """How the text starts or ends: with a letter of a set, with a string, with a word."""
    match = _EDGE.fullmatch(asked)
    if match is None:
        return None
    at_start = match[1] in ("start", "begin")
    letters = letter_set(match[2])
    if letters:
        return "letter", lambda text: _outer(text, at_start) in letters
    word = re.fullmatch(r'(?:the )?word "([^"]+)"', match[2])
    if word:
        return "word", lambda text: text.split()[:: 1 if at_start else -1][:1] == [word[1]]
    lead = _AFFIX_LEAD.sub("", match[2], count=1)
    items = list_items(lead) if lead.startswith('"') and " and " not in lead else None
    if not items:
        return None
    ends = tuple(items)
    return "affix", (lambda text: text.startswith(ends)) if at_start else (lambda text: text.endswith(ends))


def _outer(text: str, first: bool) -> str:
    inside = [c for c in text if c.isalnum()]
    return inside[0 if first else -1] if inside else ""


def count_rule(asked: str, *, names_word: bool) -> Rule | None:
    """How many letters, characters, words, vowels."""
    spaces = _SPACES.search(asked)
    counted = _COUNT.fullmatch(_OR_MORE.sub(r"\1 or \3 \2", _SPACES.sub("", asked)))
    if counted is None:
        return None
    test, unit = number_test(counted[1]), counted[2]
    if test is None or counted[1] in ("a", "an") or (unit in _NAMED_UNITS and not (names_word or counted[3])):
        return None
    measure = _UNITS[unit]
    if spaces and unit in ("letter", "character"):
        keeps = spaces[1] in ("including", "counting")
        measure = len if keeps else lambda text: len(text) - text.count(" ")
    return "count", lambda text: test(measure(text))


def presence_rule(asked: str, *, names_word: bool) -> Rule | None:
    """Whether spaces, hyphens, digits, double letters ... occur."""
    tests = _PRESENT + _NAMED_PRESENT if names_word else _PRESENT
    found = next((test for pattern, test in tests if pattern.fullmatch(asked)), None)
    return ("present", found) if found else None


def letters_rule(asked: str) -> Rule | None:
    """Whether single letters occur: one, any or all of a list, or one a number of times."""
    counted = _counted_letter(asked) or _letters_of_word(asked)
    if counted:
        return counted
    match = _WITHIN.fullmatch(asked)
    if match is None:
        return None
    times = _TIMES.fullmatch(match[2])
    if times:
        test = number_test(times[2])
        return ("letters", lambda text: test(text.count(times[1]))) if test else None
    rest = _LETTERS_LEAD.sub("", match[2], count=1)
    letters = single_letters(rest)
    if not letters:
        return None
    every = match[1].startswith(("both", "all")) or (not match[1] and re.search(r"\band\b|&", rest))
    some = bool(match[1]) or re.search(r"\bor\b", rest)
    if (len(letters) > 1 and not every and not some) or (every and re.search(r"\bor\b", rest)):
        return None  # 'contain the letters "a", "b"': any of them, or all?
    return "letters", (lambda text: letters <= set(text)) if every else (lambda text: not letters.isdisjoint(text))


def _counted_letter(asked: str) -> Rule | None:
    """How often one letter occurs: "at least two 'a's"."""
    match = _COUNTED.fullmatch(asked)
    test = number_test(match[1]) if match and match[1] not in ("a", "an", "one", "1") else None
    if match is None or test is None:
        return None
    letter = match[3] or match[4] or match[5]
    return "letters", lambda text: test(text.count(letter))


def _letters_of_word(asked: str) -> Rule | None:
    """Whether any or all of the letters of a word occur."""
    match = _FROM_WORD.fullmatch(asked)
    if match is None:
        return None
    letters = frozenset(match[2])
    if match[1] == "all":
        return "letters", lambda text: letters <= set(text)
    return "letters", lambda text: not letters.isdisjoint(text)


def containment_rule(asked: str, *, names_word: bool) -> Rule | None:
    """Whether a quoted string occurs, as a word of its own where the question says "word"."""
    match = _STRING.fullmatch(asked)
    if match is None or not (match[1] or names_word):
        return None
    part = match[2]
    if match[1] == "word":
        return "word", lambda text: part in re.split(r"[\s-]+", text) or f" {part} " in f" {text} "
    return "substring", lambda text: part in text
