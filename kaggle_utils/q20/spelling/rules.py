"""Choose the rule for what a canonical question asks of the keyword or of a part of it.

The rules themselves are in ``order`` and ``letters``; here are the parts of a keyword that can be asked
about, questions about a single letter, and lists of keywords. Equality is the environment's own comparison.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from kaggle_utils.q20.protocol import keywords_match
from kaggle_utils.q20.spelling.letter_sets import CONSONANTS, VOWELS, Rule, letter_set, list_items
from kaggle_utils.q20.spelling.letters import containment_rule, count_rule, edge_rule, letters_rule, presence_rule
from kaggle_utils.q20.spelling.order import order_rule

__all__ = ["predicate_rule", "selector"]

_LISTED = re.compile(
    r"(?:be |is |are )?(?:exactly |literally |equals? (?:to )?|match(?:es)? |the same as |either )*"
    r"(?:(one of|any one of|any of|among|amongst|in|within|included in|from)\b ?)?"
    r"((?:(?:the|this|these|those|following|list|set|of|words?|keywords?|things|items|options|terms|objects|potential|"
    r"possible|candidates?|nouns|\d+)\b ?)*)[:?]? ?(.+)"
)
_SEMANTIC = re.compile(
    r"(?:an?|the|some|any|something|related|used|found|living|made|type|kind)\b.*|.*[@<\"?:].*|"
    r"(?:animal|plant|mineral|person|place|thing|food|object|vehicle|tool|country|city|landmark|building|clothing|drink|"
    r"beverage|fruit|vegetable|furniture|technology|nature|category|material)s?|.{60}.*"
)


def _same_backwards(text: str) -> bool:
    letters = [c for c in text if c.isalnum()]
    return letters == letters[::-1]


def _alike_at_ends(text: str) -> bool:
    letters = [c for c in text if c.isalnum()]
    return bool(letters) and letters[0] == letters[-1]


_WHOLE: list[tuple[re.Pattern[str], Rule]] = [
    (re.compile(pattern), rule)
    for pattern, rule in (
        (r"(?:be )?a palindrome", ("palindrome", _same_backwards)),
        (
            r"(?:both )?(?:start|begin)s? and ends? (?:with|in) the same (?:letter|character)|"
            r"ha(?:ve|s) the same first and (?:<l-1>|last letter)",
            ("letter", _alike_at_ends),
        ),
        (
            r"(?:have|has|contains?) more (vowels) than consonants",
            ("count", lambda text: sum(c in VOWELS for c in text) > sum(c in CONSONANTS for c in text)),
        ),
        (
            r"(?:have|has|contains?) more (consonants) than vowels",
            ("count", lambda text: sum(c in CONSONANTS for c in text) > sum(c in VOWELS for c in text)),
        ),
    )
]


def selector(token: str) -> Callable[[str], str] | None:
    """Return the function that takes the part named by a token of ``text`` out of a lower-case keyword.

    >>> selector("<l2w1>")("tv stand"), selector("<w-1>")("tv stand"), selector("<l9>")("cat")
    ('v', 'stand', '')
    """
    if token == "@":
        return str.strip
    match = re.fullmatch(r"<(?:([lc])(-?\d+))?(?:w(-?\d+))?>", token)
    if match is None:
        return None
    kind, letter, word = match.groups()

    def part(keyword: str) -> str:
        text = _nth(keyword.split(), int(word)) if word else keyword.strip()
        if not letter:
            return text
        return _nth([c for c in text if c.isalnum()] if kind == "l" else text, int(letter))

    return part


def _nth(sequence: Sequence[str], ordinal: int) -> str:
    index = ordinal - 1 if ordinal > 0 else len(sequence) + ordinal
    return sequence[index] if 0 <= index < len(sequence) else ""


def predicate_rule(asked: str, *, of_letter: bool, names_word: bool) -> Rule | None:
    """Return the rule for ``asked``, the question's text after its subject.

    ``of_letter``: the subject is one letter. ``names_word``: the question speaks of a keyword, word or name, not only
    of "it", so that it is surely about spelling.
    """
    if of_letter:
        return _letter(asked)
    whole = next((rule for pattern, rule in _WHOLE if pattern.fullmatch(asked)), None)
    if whole:
        return whole
    return (
        order_rule(asked, names_word=names_word)
        or edge_rule(asked)
        or count_rule(asked, names_word=names_word)
        or presence_rule(asked, names_word=names_word)
        or letters_rule(asked)
        or containment_rule(asked, names_word=names_word)
        or _one_of(asked, names_word)
    )


def _letter(asked: str) -> Rule | None:
    """A question about one letter: which it is, or where it stands in the alphabet."""
    asked = re.sub(r"^(?:be |is |equal to |the same as |equals? )+", "", asked)
    asked = re.sub(r"^(?:fall|lie|come|appear|found|located)s? (?=in |between |within |before |after )", "", asked)
    letters = letter_set(re.sub(r" in (?:the )?alphabetical order$", "", asked))
    return ("letter", lambda text: text in letters) if letters else None


def _one_of(asked: str, names_word: bool) -> Rule | None:
    """Whether the keyword is one of a list, or is a quoted word.

    Unquoted, the list must be announced as one ("one of the following ...") in a question that names the keyword, and
    its items must not look like kinds of things.
    """
    match = _LISTED.fullmatch(asked)
    if match is None:
        return None
    place, lead, rest = match[1], match[2], match[3]
    items = list_items(rest)
    listed = re.search(r"\b(?:following|these|list|set|keywords|words)\b", lead)
    if not items or (place and place.endswith(("in", "within", "from")) and not listed):
        return None
    if '"' not in rest:
        words = names_word or re.search(r"\b(?:keywords|words)\b", lead)
        if not (words and (listed or place)) or any(_SEMANTIC.fullmatch(item) for item in items):
            return None
    elif len(items) == 1 and (place or listed) and not (listed and names_word):
        return None  # is it one of the "big cats"?
    elif asked.startswith(("either ", "be either ")) if len(items) == 1 else not (place or listed) and " and " in rest:
        return None  # is it "salt and pepper", or both of them?
    return "one of", lambda text: any(keywords_match(item, text) for item in items)
