"""Exact answers to questions about the spelling of the keyword.

``parse_question`` reads a question in any of the phrasings that were seen on the leaderboard (order, letters, lengths,
word counts, containment, lists) and returns the test that decides it, or None. It never guesses: what is not fully
understood, and everything about the meaning of the keyword, is None and left to others. The handshake is no such
question: it is not about the keyword.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from kaggle_utils.q20.protocol import keywords_match
from kaggle_utils.q20.spelling.clauses import clauses, reworded
from kaggle_utils.q20.spelling.letter_sets import Rule
from kaggle_utils.q20.spelling.order import reversed_order
from kaggle_utils.q20.spelling.rules import predicate_rule, selector
from kaggle_utils.q20.spelling.text import LONGEST, canonical

__all__ = ["HANDSHAKE", "LexicalQuestion", "alphabetical_question", "is_handshake", "names_keyword", "parse_question"]

HANDSHAKE = "Is it Agent Alpha?"
"""The question by which Agent Alpha finds out whether its partner answers questions of spelling exactly."""

_HANDSHAKE = re.compile(r"\W*(?:is (?:it|this|that|the keyword)|are you) (?:the )?agent[ _-]?alpha\W*", re.IGNORECASE)
_SUBJECT = r"(@|<[lcw\d-]+>)"
_PLAIN = re.compile(rf"(?:(?:does|do|is|are|has|have|would|will|should) )?{_SUBJECT}(?:'s)? (not )?(.+)")
_PASSIVE = re.compile(
    r"(?:is|are|do|does) (not )?(?:there )?(.+?) "
    r"(?:(?:present|contained|included|found|part|appear|occur|used|located) )?(?:anywhere )?(?:in|inside|within|of) "
    rf"(?:the letters of |the word )?{_SUBJECT}(?: or not)?"
)
_NUMBER_OF = re.compile(
    r"is (?:the )?(?:total )?(?:number|count|amount) of (letters|characters|words|vowels|consonants|spaces)"
    r"(?: (?:in|of|that make up) @)?((?: ?[,(][^()]*spaces\)?)?) (.+)|"
    r"is (?:the )?(?:length of @|@'s length|@ length) (.+)"
)
_LIST_FIRST = re.compile(
    r"here is (?:an? )?(?:important )?list of (?:\d+ )?(?:potential |possible )?(?:keywords|words): (.+?)[.?] "
    r"(?:is|does) @ (?:one of|in|among) (?:the |these |this )?[a-z0-9 ]*"
)
_GROUP_LAST = re.compile(
    rf"is {_SUBJECT} one of the letters in this (?:important )?group of letters\? "
    r"this is an? (?:important )?group of letters[a-z, ]*: (.+)"
)
_WITHIN = re.compile(r" (?:anywhere )?(?:in|within|inside) @$")
_TWO = re.compile(r" (?:or|and|but) (?:does|is|has) (?:@|<)")
_IN_QUOTES = re.compile('["“][^"”]*["”]')
_NAMES_WORD = re.compile(r"\b(?:key ?words?|words?|name|spell\w*)\b", re.IGNORECASE)


@dataclass(frozen=True)
class LexicalQuestion:
    """A question whose answer follows from the keyword's spelling alone."""

    text: str
    """The question as it was asked."""
    family: str
    """The rule's family; along a sorted list, the answers to an "order" question change once at most."""
    holds: Callable[[str], bool]
    """The true answer for a keyword, in any case."""


def alphabetical_question(word: str) -> str:
    """Return Agent Alpha's question: is the keyword before ``word``?

    >>> alphabetical_question("lake salmon")
    'Does the keyword (in lowercase) precede "lake salmon" in alphabetical order?'
    """
    return f'Does the keyword (in lowercase) precede "{word}" in alphabetical order?'


def is_handshake(text: str) -> bool:
    """Whether ``text`` is the handshake of Agent Alpha, in any case and punctuation.

    >>> is_handshake(HANDSHAKE), is_handshake("is it agent alpha"), is_handshake("Is it an agent?")
    (True, True, False)
    """
    return isinstance(text, str) and len(text) <= 60 and _HANDSHAKE.fullmatch(text) is not None


@lru_cache(maxsize=1024)
def _parse(text: str) -> LexicalQuestion | None:
    names_word = _NAMES_WORD.search(_IN_QUOTES.sub("", text)) is not None
    rule = _combined(canonical(text), names_word=names_word, depth=3)
    if rule is None:
        return None
    family, test = rule
    return LexicalQuestion(text, family, lambda keyword: bool(test(" ".join(keyword.lower().split()))))


def _combined(asked: str, *, names_word: bool, depth: int) -> Rule | None:
    """The rule of a canonical question, or of its clauses where each of them has one."""
    plain = _rule(asked, names_word=names_word) if not _TWO.search(asked) else None
    if plain is not None or depth == 0:
        return plain
    other = reworded(asked)
    if other != asked:
        return _combined(other, names_word=names_word, depth=depth - 1)
    found = clauses(asked)
    if found is None:
        return None
    tests = []
    for clause in found[1]:
        rule = _combined(clause, names_word=names_word, depth=depth - 1)
        if rule is None:
            return None
        tests.append(rule[1])
    join = any if found[0] == "or" else all
    return found[0], lambda keyword: join(test(keyword) for test in tests)


def parse_question(text: str) -> LexicalQuestion | None:
    """Return the exact test behind a question, or None where no rule fully fits; never raises.

    Only the first 2,000 characters are read, so that no text takes longer than some hundredths of a second.

    >>> question = parse_question("Does the keyword start with one of the letters 'Z', 'G' or 'V'?")
    >>> question.family, question.holds("Garden Gnome"), question.holds("kiwi")
    ('letter', True, False)
    >>> parse_question("Is it alive?") is None
    True
    """
    if not isinstance(text, str) or not text.strip():
        return None
    return _parse(text[:LONGEST])


def names_keyword(text: str, keyword: str) -> bool:
    """Whether ``text`` asks outright for this very keyword: "Is it a cat?" where the keyword is Cat.

    Unquoted, such a question is one about meaning for every other keyword ("Is it a cat?" is true of a Siamese), so
    ``parse_question`` gives None for it; where this function says True the answer is "yes" all the same.

    >>> names_keyword("Is it a cat?", "Cat"), names_keyword("Is the keyword pet food?", "cat")
    (True, False)
    """
    if not isinstance(text, str):
        return False
    match = re.fullmatch(r'is @ (?:called )?((?:an? |the )?"?[^"@<]{1,100}"?)', canonical(text))
    if match is None:
        return False
    name = match[1].replace('"', "")
    return any(keywords_match(form, keyword) for form in (name, re.sub(r"^an? ", "", name)))


def _rule(asked: str, *, names_word: bool) -> Rule | None:
    """The rule of one canonical question about the lower-case keyword."""
    counted = _NUMBER_OF.fullmatch(asked)
    if counted:
        unit, spaces, test = (counted[1] or "characters"), counted[2] or "", counted[3] or counted[4]
        return predicate_rule(f"have {test} {unit}{spaces}", of_letter=False, names_word=True)
    listed = _LIST_FIRST.fullmatch(asked)
    if listed:
        return predicate_rule(f"one of the following: {listed[1]}", of_letter=False, names_word=True)
    grouped = _GROUP_LAST.fullmatch(asked)
    if grouped:
        return _applied(grouped[1], f"one of the letters: {grouped[2]}", negated=False, names_word=True)
    flipped = reversed_order(asked)
    if flipped:
        return _applied("@", flipped, negated=False, names_word=True)
    plain = _PLAIN.fullmatch(asked)
    rule = _applied(plain[1], plain[3], negated=bool(plain[2]), names_word=names_word) if plain else None
    if rule is None:
        passive = _PASSIVE.fullmatch(asked)
        if passive:
            rule = _applied(passive[3], f"contain {passive[2]}", negated=bool(passive[1]), names_word=names_word)
    return rule


def _applied(subject: str, asked: str, *, negated: bool, names_word: bool) -> Rule | None:
    """The rule for ``asked`` of a part of the keyword."""
    part, asked = selector(subject), _WITHIN.sub("", asked)
    rule = predicate_rule(asked, of_letter=subject[1:2] in ("l", "c"), names_word=names_word) if part else None
    if rule is None:
        return None
    family, test = rule
    if subject != "@" and family == "order":
        family = "range"  # the order of a part of the keyword is not the order of the list
    if negated:
        return family, lambda keyword: not test(part(keyword))
    return family, lambda keyword: test(part(keyword))
