"""Rules of alphabetical order: "does it precede X", "is it between X and Y".

Order is Python's order of the lower-case strings, which is what Agent Alpha's players compare; "between" includes both
ends unless the question says "exclusive". The words "alphabetical", "dictionary" or the like must occur, except in a
plain "precede" with a quoted word. Takes canonical text (``text``).
"""

from __future__ import annotations

import re

from kaggle_utils.q20.spelling.letter_sets import Rule, letter_set

__all__ = ["order_rule", "reversed_order"]

_KIND = (
    "(?:alphabetical|alphabetic|alphanumeric|alphanumerical|lexicographical|lexicographic|lexical|dictionary|alphabet)"
    "(?: order| ordering| sorting| sort| sense| sequence| list)?"
)
_BY = "(?:in|by|according to|using|under|with|(?:when|if) (?:sorted|listed|placed|arranged|ordered) (?:in|by))"
_ORDER = re.compile(
    rf"(?:,? ?\b{_BY} (?:an? |the |standard |english |strict )*{_KIND}\b"
    r"|,? ?\b(?:when |if )?(?:sorted |ordered |listed |arranged )?(?:alphabetically|lexicographically)(?: sorted)?\b"
    r"|,? ?\bin (?:the|a|an) (?:english )?(?:dictionary|alphabet)\b),?"
)
_BEFORE = (
    "on or before|at or before|before or equal to|before|preceding|precedes?|prior to|earlier than|"
    "less than or equal to|less than|smaller than|lower than|ahead of"
)
_AFTER = (
    "after or equal to|on or after|at or after|after|succeeds?|follows?|following|later than|"
    "greater than or equal to|greater than|larger than|higher than|past|behind"
)
_MOVE = (
    "(?:would |will |be |is |come |comes |coming |go |goes |appear |appears |fall |falls |lie |lies |sort |sorts |"
    "rank |ranks |stand |located |listed |placed |found |positioned |ordered |strictly )*"
)
_OR_EQUAL = "( or (?:is |be )?(?:equals?(?: to)?|the same as|identical to|match(?:es)?))?"
_BOUND = r"(\"[^\"]+\"|[^\",?:@<]+)"
_COMPARE = re.compile(
    rf"{_MOVE}(?:(?P<before>{_BEFORE})|(?P<after>{_AFTER})){_OR_EQUAL} "
    rf"(?:the )?(word |letter |string |term |phrase |keyword )?{_BOUND}"
)
_BETWEEN = re.compile(
    rf"{_MOVE}(?:between|in the range(?: of| from)?|from) (?:the )?(?:words? |letters? |strings? )?"
    r"(\"[^\"]+\"|[^\",?:@<]+?) (?:and|to) (?:the )?(?:word |letter |string )?"
    r"(\"[^\"]+\"|[^\",?:@<]+?)[ ,(]*(inclusive(?:ly)?|exclusive(?:ly)?)?\)?"
)
_REVERSED = re.compile(
    r"(?:does|do|is|would|will) (?:the )?(?:word |term |string )?(\"[^\"]+\") (?:come |be |go |appear |fall )?"
    r"(before|after|precede|preceding|follow|following) @(.*)"
)
_FLIPPED = {"before": "after", "after": "before", "precede": "after", "preceding": "after", "follow": "before",
            "following": "before"}  # fmt: skip


def reversed_order(question: str) -> str | None:
    """Turn "does X come after the keyword" into what that asks of the keyword: "before X".

    >>> reversed_order('does "mango" come after @ in alphabetical order')
    'before "mango" in alphabetical order'
    """
    match = _REVERSED.fullmatch(question)
    return f"{_FLIPPED[match[2]]} {match[1]}{match[3]}" if match else None


def order_rule(asked: str, *, names_word: bool) -> Rule | None:
    """Return the rule of family "order" (one bound), "range" (two) or "letter" (two letters), or None."""
    bare, marks = _ORDER.subn(" ", asked)
    bare = " ".join(bare.split())
    compared = _COMPARE.fullmatch(bare)
    if compared:
        plain = names_word and (compared["before"] or "").startswith("precede") and compared[5].startswith('"')
        return _comparison(compared) if marks or plain else None
    between = _BETWEEN.fullmatch(bare) if marks else None
    return _range(between, bare) if between else None


def _comparison(match: re.Match[str]) -> Rule | None:
    """One bound; unquoted, it must be plain words. "After the letter m" is refused: opinions differ on "mango"."""
    earlier, how, quoted = match["before"] is not None, match["before"] or match["after"], match[5].startswith('"')
    bound = match[5].strip('" ')
    equal = bool(match[3]) or "equal" in how or how.startswith(("on or", "at or"))
    if not bound or (not quoted and re.search(r"\b(?:or|and|the|does|is)\b", bound)):
        return None
    if match[4] == "letter " and (not earlier or equal):
        return None
    if earlier:
        return "order", (lambda text: text <= bound) if equal else (lambda text: text < bound)
    return "order", (lambda text: text >= bound) if equal else (lambda text: text > bound)


def _range(match: re.Match[str], bare: str) -> Rule | None:
    low, high, ends = match[1].strip('" '), match[2].strip('" '), match[3] or ""
    if "letter" in bare or len(low) == len(high) == 1:
        letters = letter_set(f"between {low} and {high} {ends}".strip())
        return ("letter", lambda text: text[:1] in letters) if letters else None
    if ends.startswith("exclusive"):
        return "range", lambda text: low < text < high
    return "range", lambda text: low <= text <= high
