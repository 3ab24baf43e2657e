"""Make a proper question out of what a language model wrote, and recognise one that was asked before.

A question must never be a bare keyword (the environment would end the whole episode), so it has to open with a verb
and to speak of "it". Takes linear time on any text. It does not judge whether a question is a good one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["clean_question", "is_repeat"]

_READ_LIMIT = 2000  # characters of a model's output that are looked at
_LENGTH = 280  # the longest question worth asking; the environment would keep 750 characters

_VERB = r"(?:is|are|was|were|does|do|did|can|could|has|have|had|would|will|should|may|might)"
_SENTENCE = re.compile(rf"(?:^|[.!:;,\"'“”(]\s?)({_VERB}\b[^?]{{2,{_LENGTH}}}\?)", re.IGNORECASE)
_UNENDED = re.compile(rf"{_VERB}\b[^?]{{2,{_LENGTH}}}", re.IGNORECASE)
_SUBJECT = re.compile(
    r"\b(?:it|its|it's|this|that|they|them|their|you|people|one|someone|keyword|word|name|thing|object|item|place)\b",
    re.IGNORECASE,
)
_MARKUP = str.maketrans("", "", "*_`#<>|[]{}~\\")
_LABEL = re.compile(r"^[\s\-•\d.):]{0,12}(?:(?:next |new |my )?(?:question|q)\s?\d{0,3}\s?[:.)\-]\s?)?", re.IGNORECASE)

_FILLER_WORDS = (
    "a an and any are as at be been by can considered could do does for from generally has have in into is it its "
    "item itself keyword kind known made might normally object of on one or primarily should some something sort "
    "than that the they thing this to type typically used usually was were will with word would you your"
)
_FILLERS = frozenset(_FILLER_WORDS.split())


def clean_question(text: str) -> str:
    """Return the first yes-or-no question about "it" in ``text``, "" where there is none.

    >>> clean_question("Sure! Here is my next question:\\n\\n**Q3: is it larger than a car?** Because...")
    'Is it larger than a car?'
    >>> clean_question("1. Does it live in water"), clean_question("Can opener?"), clean_question("Banana?")
    ('Does it live in water?', '', '')
    """
    for line in text[:_READ_LIMIT].splitlines():
        plain = " ".join("".join(c for c in line.translate(_MARKUP) if c.isprintable()).split())
        plain = _LABEL.sub("", plain, count=1).strip(" \"'“”‘’")
        found = _SENTENCE.search(plain)
        question = found.group(1) if found else plain.rstrip(".!") + "?" if _UNENDED.fullmatch(plain) else ""
        if question and len(question.split()) >= 3 and _SUBJECT.search(question):
            return question[0].upper() + question[1:]
    return ""


def is_repeat(question: str, earlier: Iterable[str], *, overlap: float = 0.8) -> bool:
    """Say whether ``question`` has (nearly) the same content words as an earlier one.

    >>> is_repeat("Is it commonly found in a kitchen?", ["Is the thing found in the kitchen, commonly?"])
    True
    >>> is_repeat("Is it larger than a car?", ["Is it smaller than a car?"])
    False
    """
    words = _content(question)
    return any(_jaccard(words, _content(other)) >= overlap for other in earlier)


def _content(question: str) -> frozenset[str]:
    words = frozenset(re.findall(r"[^\W_]+", question[:_READ_LIMIT].lower()))
    return words - _FILLERS or words


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one or other else 1.0
