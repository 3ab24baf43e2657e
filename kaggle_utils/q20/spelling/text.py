"""Bring a question about spelling into one canonical wording, so that few rules cover many phrasings.

Quotes of every kind become double quotes, case and spacing go, and whatever names the keyword ("the secret word",
"its name", "the spelling of the keyword") becomes ``@``; ``<l1>`` is its first letter, ``<w-1>`` its last word,
``<l2w1>`` the second letter of its first word. What stands between quotes is kept as it is, in lower case.
The module knows no rules: it neither answers nor refuses a question.
"""

from __future__ import annotations

import re

__all__ = ["LONGEST", "canonical"]

LONGEST = 2000
"""Characters of a question that are read; the environment itself keeps at most 2,000 (750 since August 2024)."""

_STRAIGHT = str.maketrans({**dict.fromkeys("“”„‟«»″", '"'), **dict.fromkeys("‘’‚‛`´′", "'"), "@": "\x00", "<": "\x00"})
_QUOTED = re.compile(r"\"([^\"]{0,200})\"|(?<![a-z0-9])'((?:[^'\"]|'(?=[a-z])){0,200}?)'(?![a-z0-9])")
_ORDINALS = {
    "first": 1, "1st": 1, "initial": 1, "starting": 1, "beginning": 1, "second": 2, "2nd": 2, "third": 3, "3rd": 3,
    "fourth": 4, "4th": 4, "fifth": 5, "5th": 5, "sixth": 6, "6th": 6, "seventh": 7, "7th": 7, "eighth": 8, "8th": 8,
    "ninth": 9, "9th": 9, "tenth": 10, "10th": 10, "last": -1, "final": -1, "ending": -1,
    "second to last": -2, "second-to-last": -2, "second last": -2, "penultimate": -2,
}  # fmt: skip
_ORDINAL = "|".join(sorted(map(re.escape, _ORDINALS), key=len, reverse=True))
_KEYWORD = r"(?:(?:secret|hidden|target|mystery|given|actual|correct|unknown) )?"
_THING = r"(?:word|thing|item|object|answer|noun|phrase|term|entity)"
_LETTER_CASE = r"(?:lower|upper)[- ]?case"

# Each pair is applied in this order to what stands outside of quotes.
_REWRITES = [
    (rf"\(?,? ?\b(?:(?:when|if) )?(?:(?:it is|written|spelled|converted|considered|put) )*(?:in|to|as) (?:all )?"
     rf"{_LETTER_CASE}(?: letters?| form)?\)?,?", " "),
    (rf"\((?:all )?{_LETTER_CASE}(?: letters?)?\)|\(?\b(?:case[- ]insensitive(?:ly)?|ignoring (?:the |letter )?case|"
     r"regardless of (?:the )?case|not case[- ]sensitive)\b\)?", " "),
    (rf"\b(?:the |your |this |our )?{_KEYWORD}key ?word\b", "@"),
    (r"\b(?:the |your |this |our |that )(?:secret|hidden|target|mystery|given|actual|correct|unknown) "
     r"(?:word|thing|item)\b", "@"),
    (rf"\b(?:the|your|this|our) {_THING}\b(?!\s*$)", "@"),
    (r"\b(?:its|it's)\b", "@'s"),
    (r"\bit\b", "@"),
    (r"\b(?:the )?(?:full |common |english |written )?(?:name|spelling|text|string) (?:of|for) @(?!')", "@"),
    (r"@'s (?:full |common |english )?(?:name|spelling)\b", "@"),
    (r"\bthe (?:name|spelling)\b(?! of)(?!\s*$)", "@"),
    (r"@ itself\b", "@"),
]  # fmt: skip
_REWRITES = [(re.compile(pattern), replacement) for pattern, replacement in _REWRITES]
_WORD = re.compile(rf"(?:\bthe |@'s |@ )?\b({_ORDINAL}) word\b(?: (?:of|in) @)?")
_LETTER = re.compile(
    rf"(?:\bthe |@'s |@ |<w(-?\d+)>'s )?\b({_ORDINAL}) (?:letter|(character))\b(?: (?:of|in|for) (?:@|<w(-?\d+)>))?"
)
_PREFIX = re.compile(r"(?:considering every letter (?:in|of) @|when (?:you )?spell(?:ing|ed)?(?: out)?(?: @)?(?: out)?|"
                     r"if (?:you|we) spell(?: out)? @(?: out)?|in english|true or false|yes or no|"
                     r"(?:please )?answer (?:with )?yes or no)[,:.] ")  # fmt: skip
_ORDER_FIRST = re.compile(
    r"(?:(?:if|when) (?:\w+ )?(?:sorted|listed|ordered|arranged) )?"
    r"(?:alphabetically|in alphabetical order|lexicographically),? ((?:would|does|is|will) .+)"
)
_SUFFIX = re.compile(r"(?:[?.!,:;] ?|\s)(?:\(?(?:please )?(?:answer |respond |reply )?(?:only )?(?:with )?(?:either )?"
                     r"\"?yes\"?(?: or |/)\"?no\"?(?: only)?\)?|for example, .*|e\.g\. .*)[?.! ]*$")  # fmt: skip


def canonical(text: str) -> str:
    """Return the canonical wording of the first ``LONGEST`` characters, without the final question mark.

    >>> canonical("Does the secret word  start with the letter ‘Z’?")
    'does @ start with the letter "z"'
    >>> canonical('Is the second letter of its first word in "abc" (in lowercase) ?')
    'is <l2w1> in "abc"'
    """
    flat = " ".join(text[:LONGEST].translate(_STRAIGHT).lower().split())
    flat = flat.rpartition("question:")[2].rpartition(" #")[2]  # "answer the question: ...", "python code # ..."
    pieces, end = [], 0
    for match in _QUOTED.finditer(flat):
        pieces += [_outside(flat[end : match.start()]), '"' + (match[1] or match[2] or "").strip(" ,?") + '"']
        end = match.end()
    joined = " ".join("".join([*pieces, _outside(flat[end:] + " .")]).split())  # " ." tells the end from a quote
    joined = _SUFFIX.sub("", joined.rstrip(" ?.!,;:"))
    joined = _PREFIX.sub("", joined, count=1).strip(" ?.!,;:")
    return _ORDER_FIRST.sub(r"\1 alphabetically", joined)


def _outside(segment: str) -> str:
    """Rewrite a stretch of text that holds no quotation."""
    segment = re.sub(r"(?<![a-z])['\"]|['\"](?![a-z])", "", segment)
    for pattern, replacement in _REWRITES:
        segment = pattern.sub(replacement, segment)
    segment = _WORD.sub(lambda match: f"<w{_ORDINALS[match[1]]}>", segment)
    return _LETTER.sub(_letter_token, segment)


def _letter_token(match: re.Match[str]) -> str:
    word = match[1] or match[4]
    kind = "c" if match[3] else "l"
    return f"<{kind}{_ORDINALS[match[2]]}" + (f"w{word}>" if word else ">")
