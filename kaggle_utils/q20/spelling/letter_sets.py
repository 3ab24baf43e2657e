"""Read descriptions of sets of letters and of numbers: "one of a, b or c", "a vowel", "more than six".

All functions take canonical text (``text``), return None for what they do not fully understand, and use
regular expressions whose running time grows linearly. A vowel is one of a, e, i, o, u; "between a and m" includes
both ends unless the question says "exclusive".
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable

__all__ = ["CONSONANTS", "VOWELS", "Rule", "letter_set", "list_items", "number_test", "single_letters"]

Rule = tuple[str, Callable[[str], bool]]
"""What a rule module returns: a family's name, and the test of the lower-case keyword or of the part asked about."""

VOWELS = frozenset("aeiou")
CONSONANTS = frozenset(string.ascii_lowercase) - VOWELS
_ALPHABET = string.ascii_lowercase
_NUMBERS = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20,
    "a single": 1, "single": 1, "only one": 1, "just one": 1, "a couple of": 2, "once": 1, "twice": 2, "an": 1, "a": 1,
}  # fmt: skip
_N = r"(\d{1,4}|" + "|".join(sorted(_NUMBERS, key=len, reverse=True)) + r")(?: times?)?"
_NUMBER_TESTS: list[tuple[str, Callable[..., Callable[[int], bool]]]] = [
    (rf"(?:greater|more|longer|larger|higher|bigger) than or equal to {_N}", lambda n: lambda x: x >= n),
    (rf"(?:less|fewer|shorter|smaller|lower) than or equal to {_N}", lambda n: lambda x: x <= n),
    (rf"(?:not more|no more|no longer|not longer|no greater) than {_N}|at most {_N}|up to {_N}|a maximum of {_N}|"
     rf"{_N} or (?:fewer|less|under|shorter)", lambda n: lambda x: x <= n),
    (rf"(?:not less|not fewer|no fewer|no less) than {_N}|at least {_N}|a minimum of {_N}|"
     rf"{_N} or (?:more|longer|greater|over)|{_N} ?\+", lambda n: lambda x: x >= n),
    (rf"(?:strictly )?(?:more|greater|longer|larger|higher|bigger) than {_N}|over {_N}|above {_N}|"
     rf"exceed(?:s|ing)? {_N}", lambda n: lambda x: x > n),
    (rf"(?:strictly )?(?:less|fewer|shorter|smaller|lower) than {_N}|under {_N}|below {_N}", lambda n: lambda x: x < n),
    (rf"(?:exactly |precisely |equal to |equals |only |just )?{_N}", lambda n: lambda x: x == n),
    (rf"{_N} or {_N}", lambda n, m: lambda x: x in (n, m)),
    (rf"(?:between |from ){_N}(?: and | to |-){_N}(?: \(?inclusive\)?)?", lambda n, m: lambda x: n <= x <= m),
    (rf"between {_N} and {_N} \(?exclusive\)?", lambda n, m: lambda x: n < x < m),
    (r"(?:an )?even(?: number(?: of)?)?", lambda: lambda x: x % 2 == 0),
    (r"(?:an )?odd(?: number(?: of)?)?", lambda: lambda x: x % 2 == 1),
    (r"multiple", lambda: lambda x: x > 1),
]  # fmt: skip
_NUMBER_TESTS_COMPILED = [(re.compile(pattern), build) for pattern, build in _NUMBER_TESTS]
_NUMBER_LIST = re.compile(rf"{_N}(?:, {_N}){{1,8}},? or {_N}".replace("(\\d", "(?:\\d"))
_SEPARATOR = re.compile(r"\s*(?:,|;|/|\|)\s*(?:or |and )?|\s+(?:or|and)\s+")
_LIST_LEAD = re.compile(
    r"(?:(?:the|these|following|letters?|characters?|words?|of|one|any|either|both|all|list|in|from|group|set|keywords?|"
    r"potential|possible|options?)\b[:?]? ?)*[:?]? ?"
)
_RANGE = re.compile(
    r'(?:the )?(?:letters? )?"?([a-z])"?(?: ?- ?| to | through | thru | and )(?:the )?(?:letter )?"?([a-z])"?'
)
_BESIDE = re.compile(
    r"(?:come |comes )?(?:alphabetically )?(before|after|earlier than|later than|preceding|following|less than|"
    r'greater than)( or equal to)? (?:the )?(?:letter )?"?([a-z])"?'
    r"(?: in (?:the )?(?:english )?alphabet(?:ical order)?| alphabetically)?"
)
_SET_LEAD = re.compile(r"(?:is |be |a |an |any |the )*(?:letters? )?(?:(?:that|which) (?:is|comes?) )?")
_RANGE_ENDS = re.compile(
    r"[ ,(]*(?:both )?(?:inclusive(?:ly)?|exclusive(?:ly)?|included)$| (?:in|of) the (?:english )?alphabet$"
)
_RANGE_LEAD = re.compile(
    r"(?:in |within |from |between |ranging |the range |range |of |alphabetically |falls? |lies? )*"
)
_OR_RANGE = re.compile(r",? or (?=(?:from |between |in )?\"?[a-z]\"?(?: ?-| to | through | and ))")
_HALF = re.compile(
    r"(?:in |from |within )?(?:the )?(first|second|last|latter) half of the (?:english )?alphabet"
    r"(?: \(?(?:letters )?(?:from )?(?:a ?-|a to|n ?-|n to|a through|n through) ?[mz]\)?)?"
)
_HALVES = {"first": _ALPHABET[:13], "second": _ALPHABET[13:], "last": _ALPHABET[13:], "latter": _ALPHABET[13:]}


def number_test(text: str) -> Callable[[int], bool] | None:
    """Return the test that ``text`` states about a number.

    >>> number_test("at least six")(6), number_test("between 3 and 5")(6), number_test("many") is None
    (True, False, True)
    """
    for pattern, build in _NUMBER_TESTS_COMPILED:
        match = pattern.fullmatch(text)
        if match:
            return build(*(_number(group) for group in match.groups() if group is not None))
    if _NUMBER_LIST.fullmatch(text):
        numbers = {_number(item) for item in re.split(r",? or |, ", text)}
        return lambda x: x in numbers
    return None


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else _NUMBERS.get(text, -1)


def list_items(text: str) -> list[str] | None:
    """Return the items of a list; where something is quoted, only quotations count and the rest must be separators.

    >>> list_items('"gas mask", "glove", or "golf cart"'), list_items("[gps, glove or gravity]"), list_items('a "b"')
    (['gas mask', 'glove', 'golf cart'], ['gps', 'glove', 'gravity'], None)
    """
    text = text.strip(" []{}().?:")
    if '"' in text:
        outside = re.sub(r'"[^"]*"', "", text)
        if re.sub(r"\b(?:or|and)\b|[\s,;/|\[\]{}()]", "", outside):
            return None
        return [item for item in re.findall(r'"([^"]*)"', text) if item] or None
    return [item.strip(" []().?") for item in _SEPARATOR.split(text) if item.strip(" []().?")] or None


def single_letters(text: str) -> frozenset[str] | None:
    """Return the letters or digits of a list such as ``"a", "b" or "c"``, ``a b c``, ``[a,b,c]``, or None.

    >>> sorted(single_letters('"a", "b", or "c"')), sorted(single_letters("x y z")), single_letters("cats, dogs")
    (['a', 'b', 'c'], ['x', 'y', 'z'], None)
    """
    items = list_items(text)
    if items is None:
        return None
    if len(items) == 1 and len(items[0]) > 1:  # "a b c", or a list within one pair of quotes
        items = re.split(r"[\s,]+", items[0]) if re.fullmatch(r"[a-z0-9](?:(?:, ?| )[a-z0-9])*", items[0]) else items
    items = [item for item in items if item not in ("or", "and")]
    return frozenset(items) if items and all(len(i) == 1 and i.isalnum() for i in items) else None


def letter_set(text: str) -> frozenset[str] | None:
    """Return the set of characters that ``text`` describes, or None.

    >>> sorted(letter_set("a letter between a and d")), "m" in letter_set("in the first half of the alphabet")
    (['a', 'b', 'c', 'd'], True)
    """
    text = _SET_LEAD.sub("", text, count=1) or text
    if re.fullmatch(r"vowels?(?: \(?(?:a, e, i, o,? (?:or |and )?u|aeiou)\)?)?", text):
        return VOWELS
    if re.fullmatch(r"consonants?", text):
        return CONSONANTS
    if re.fullmatch(r"(?:digit|number|numeral)", text):
        return frozenset(string.digits)
    return _half(text) or _range(text) or _beside(text) or _ranges(text) or _listed(text)


def _half(text: str) -> frozenset[str] | None:
    match = _HALF.fullmatch(text)
    return frozenset(_HALVES[match[1]]) if match else None


def _range(text: str) -> frozenset[str] | None:
    """Letters between two ends; "a and b" is a range only after "between"."""
    text = text.strip(" ()[]")
    strict = text.endswith("exclusive")
    text = _RANGE_ENDS.sub("", text)
    lead = _RANGE_LEAD.match(text)
    match = _RANGE.fullmatch(text[lead.end() :].strip(" :()[]"))
    if not match or (" and " in text and "between" not in lead[0]):
        return None
    low, high = match.groups()
    return frozenset(c for c in _ALPHABET if (low < c < high if strict else low <= c <= high)) or None


def _ranges(text: str) -> frozenset[str] | None:
    """Several ranges, joined by "or": "a-f or t-z"."""
    parts = _OR_RANGE.split(text)
    found = [_range(part) for part in parts]
    return frozenset().union(*found) if len(parts) > 1 and all(found) else None  # type: ignore[arg-type]


def _beside(text: str) -> frozenset[str] | None:
    match = _BESIDE.fullmatch(text)
    if not match:
        return None
    earlier = match[1] in ("before", "earlier than", "preceding", "less than")
    inside = {c for c in _ALPHABET if (c < match[3] if earlier else c > match[3])}
    return frozenset(inside | {match[3]} if match[2] else inside)


def _listed(text: str) -> frozenset[str] | None:
    """A list of letters; a quoted run after "in" or "letters" is a set of letters too."""
    lead = _LIST_LEAD.match(text)
    rest = text[lead.end() :]
    if re.search(r"\band\b", rest) and not re.search(r"\b(?:one|any|either|in|following|from)\b", lead[0]):
        return None
    run = re.fullmatch(r'"?([a-z]{2,26})"?', rest)
    if run and re.search(r"\b(?:in|any|one|from)\b", lead[0]) and (rest.startswith('"') or "letters" in lead[0]):
        return frozenset(run[1])
    return single_letters(rest)
