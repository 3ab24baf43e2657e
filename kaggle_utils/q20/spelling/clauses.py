"""Take a canonical question apart: odd word orders into the plain one, several statements into clauses.

It knows no rules and answers nothing: a question is split only at words that begin a new statement about spelling, and
whoever asks must find a rule for every clause. Where "and" meets "or", or a "not" may or may not belong to what
follows, there is no single reading, and the answer is None. Takes canonical text (``text``).
"""

from __future__ import annotations

import re

__all__ = ["clauses", "reworded"]

_MOST_CLAUSES = 8
_PART = r"<[lcw\d-]+>"
_LETTER = r'(?:the )?(?:letter )?"?([a-z])"?'
_TIMES = r"((?:more than|at least|exactly|less than|only) (?:once|twice|\w+ times)|twice|once)"

# Tried in this order, each at most once.
_REWORDED = [
    (rf"^(?:is @ true that|can you tell me (?:if|whether)|tell me,?(?: if| whether)?|would you say(?: that)?|"
     rf"do you think(?: that)?|is @ the case that) (?=.*(?:@|{_PART}))", ""),
    (r"@ (?:that|which) you have\b", "@"),
    (r"^(?:could|can|might) @ be (?!(?:an?|used|found|made|the)\b)", "is @ "),
    (r"^(starts?|begins?|ends?|contains?) ", r"@ \1 "),
    (rf"^is (?:the letter )?(\"?[a-z]\"?) ({_PART})$", r"is \2 \1"),
    (r"^does @ have (?:an? |the )?(?:letter )?(\"?[a-z]\"?) (?:as|for|in) (<[lc][\dw-]+>)$", r"is \2 \1"),
    (rf"^does {_LETTER} (?:appear|occur|show up)s? {_TIMES} in @$", r'does @ contain the letter "\1" \2'),
    (rf"^does {_LETTER} (?:appear|occur|show up)s? in @ {_TIMES}$", r'does @ contain the letter "\1" \2'),
    (r"^does (?:the|this) (?:following )?(?:list|set)(?: of (?:key ?)?words)?:? (.+) (?:contain|include) @$",
     r"is @ in the following list: \1"),
    (r"^is @ listed (?:here|below|in the following|among the following):? ", "is @ one of the following: "),
    (r"^is @ any one of\b", "is @ one of"),
    (r"^is @ (?:an? (?:word|name|term|noun|phrase)|something|one) (?:that|which) (?:is )?(?!you|is|can|are)",
     "does @ "),
    (r"^is @ an? (?:word|name|term|noun|phrase) (?=(?:start|begin|end|contain|hav)ing\b)", "does @ "),
    (r"^does (@|<w-?\d+>) lack ", r"does \1 not contain "),
    (r"^does (@|<w-?\d+>) (contain|have|include) none of ", r"does \1 not \2 any of "),
    (r'^does (@|<w-?\d+>) (contain|have|include) no '
     r'(?=(?:letter )?"|[a-z]$|spaces?|hyphens?|vowels|digits|repeat|dup|dou)',
     r"does \1 not \2 "),
]  # fmt: skip
_REWORDED = [(re.compile(pattern), replacement) for pattern, replacement in _REWORDED]

_HAVE = "(?:contains?|includes?|has|have|containing|including|having)"
_VERB = (
    rf"(?:starts?|begins?|ends?|starting|beginning|ending|finish(?:es)?|{_HAVE}|consists? of|precedes?|follows?|"
    "comes? (?:before|after)|(?:alphabetically )?(?:before|after)|(?:be )?(?:longer|shorter) than|"
    "is (?:before|after|longer|shorter|exactly|made|a single|one word|two words))"
)
_QUESTIONS = re.compile(r",? (or|and|but) (?=(?:does|is|has) (?:@|<))")
_PREDICATES = re.compile(
    rf"(?<![>@]),? (?:(?:(and|or|but)(?: also)? )?(?:does |do |is )?(not )?(?={_VERB} )|and with (?=<w)|with (?=<w)|"
    rf"(and|or|but) (?:is |does )?(?=<[lcw])|(?:that|which) (?:is )?(?={_VERB} ))"
)
_SUBJECT = re.compile(rf"(?:(?:does|do|is|has|would|will) )?(@|{_PART})(?:'s)? (not )?")
_BOTH_ENDS = re.compile(r"(?:both )?(start|begin)(?:s|ning|ing)? (and|or) (end)(?:s|ing)? (with .+)")
_NEITHER = re.compile(rf"((?:{_HAVE} )?|(?:start|begin|end)s? with )neither (.+?) nor (.+)")
_BUT_NOT = re.compile(rf"({_HAVE}) (.+?),? (?:but not|and not|but no|without|but without)(?: {_HAVE})?(?: any)? (.+)")
_EITHER = re.compile(rf"({_HAVE}) (?:either )?(.+?),? (or|and) (.+)")
_ALPHABETICAL = re.compile(r",? (?:in (?:the )?(?:alphabetical|dictionary|lexicographic(?:al)?) order|"
                           r"alphabetically|in the (?:alphabet|dictionary))$")  # fmt: skip


def reworded(asked: str) -> str:
    """Return a question in an unusual word order in the plain one, or as it is.

    >>> reworded('is "e" <l2>'), reworded('does @ lack the letter "e"')
    ('is <l2> "e"', 'does @ not contain the letter "e"')
    """
    for pattern, replacement in _REWORDED:
        asked = pattern.sub(replacement, asked, count=1)
    return asked


def clauses(asked: str) -> tuple[str, list[str]] | None:
    """Return how the clauses of a question are joined ("and" or "or") and the clauses as questions; None for one.

    >>> clauses('does @ start with "a" and end with "e"')
    ('and', ['does @ start with "a"', 'does @ end with "e"'])
    >>> clauses('does @ contain neither "a" nor "e"')
    ('and', ['does @ not contain "a"', 'does @ not contain "e"'])
    """
    whole = _QUESTIONS.split(asked, maxsplit=_MOST_CLAUSES)
    if len(whole) > 1:
        return _joined(whole[1::2], whole[::2])
    subject = _SUBJECT.match(asked)
    if subject is None:
        return None
    return _within(subject[1], bool(subject[2]), asked[subject.end() :])


def _joined(words: list[str], parts: list[str]) -> tuple[str, list[str]] | None:
    """One way of joining, or no single reading."""
    kinds = {"or" if word == "or" else "and" for word in words}
    return (kinds.pop(), parts) if len(kinds) == 1 and len(parts) <= _MOST_CLAUSES else None


def _within(subject: str, negated: bool, asked: str) -> tuple[str, list[str]] | None:
    """The clauses of one predicate; a "not" before several of them has no single reading."""

    def question(part: str, no: bool = False) -> str:
        return f"does {subject} {'not ' if no else ''}{part}"

    ends = _BOTH_ENDS.fullmatch(asked)
    if ends and not negated:
        return ends[2], [question(f"start {ends[4]}"), question(f"end {ends[4]}")]
    split = _split(asked)
    if split is not None:
        join, parts = split
        if negated and not all(no for no, _ in parts[1:]):
            return None
        first, *others = parts
        texts = [question(first[1], no=negated), *(_whole(part, question, no) for no, part in others)]
        return join, _alphabetical(texts)
    neither = _NEITHER.fullmatch(asked)
    if neither and not negated:
        items = [*re.split(r",? nor |, ", neither[2]), neither[3]]
        return "and", [question(neither[1] + item, no=True) for item in items[:_MOST_CLAUSES]]
    without = _BUT_NOT.fullmatch(asked)
    if without and not negated:
        return "and", [question(f"{without[1]} {without[2]}"), question(f"{without[1]} {without[3]}", no=True)]
    either = _EITHER.fullmatch(asked)
    if either and not negated and '"' in asked + '"' and not re.search(r" (?:and|or) ", either[4]):
        return either[3], [question(f"{either[1]} {part}") for part in (either[2], either[4])]
    return None


def _split(asked: str) -> tuple[str, list[tuple[bool, str]]] | None:
    """Predicates with their own verbs: how they are joined, and each with whether it is negated."""
    parts, joins, negations, end = [], [], [False], 0
    for match in _PREDICATES.finditer(asked):
        if match.start() == 0 or len(parts) >= _MOST_CLAUSES:
            continue
        if not (match[1] or match[3]) and not re.match(
            r",? (?:and )?(?:with|that|which)|,? \w+ing\b", match[0] + asked[match.end() :]
        ):
            continue  # 'start with the letter that comes before "n"' has one verb too many to be two clauses
        parts.append(asked[end : match.start()])
        joins.append(match[1] or match[3] or "and")
        negations.append(bool(match[2]))
        end = match.end()
    if not parts:
        return None
    joined = _joined(joins, [*parts, asked[end:]])
    return (joined[0], list(zip(negations, joined[1], strict=True))) if joined else None


def _whole(part: str, question: object, no: bool) -> str:
    """A later clause as a question: about its own subject where it names one."""
    if part.startswith("<"):
        return part
    return question(part, no=no)  # type: ignore[operator]


def _alphabetical(texts: list[str]) -> list[str]:
    """Let "in alphabetical order" at the end of the last clause hold for all of them."""
    mark = _ALPHABETICAL.search(texts[-1])
    if mark is None:
        return texts
    return [text if _ALPHABETICAL.search(text) else text + mark[0] for text in texts]
