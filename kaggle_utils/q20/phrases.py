"""From the sentence in which somebody guesses to the bare word that was meant.

Language models answer "I think it is a **Cat**." where the environment wants "cat". The rules here are a fixed list of
openings, markup and endings; they know no keyword list. Every repetition is bounded or runs over collapsed white
space, and only the first 2,000 characters are read, so hostile input costs little time.
"""

from __future__ import annotations

import re

__all__ = ["bare_phrase"]

_READ = 2000  # characters looked at: a guess stands at the beginning of a reply

_UNWRITABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_TAG = re.compile(r"<[^<>\n]{0,40}>")
_SPANS = (
    re.compile(r"\[\[?([^\[\]\n]{1,60})\]"),
    re.compile(r"\*\*([^*\n]{1,60})\*\*"),
    re.compile(r'["“„«]([^"“”„«»\n]{1,60})["”»]'),
)
_LABEL = re.compile(r"(?:final |my |best |next )?(?:guess|answer|keyword|word|reasoning|explanation|note)s?\W*", re.I)
_LABELLED = re.compile(r"(?:guess|answer|keyword|word)\s?(?:is\s?)?[:=]", re.I)

_OPENINGS = re.compile(
    r"""
      (?:sure|ok|okay|oh|ah|aha|well|certainly|alright|great|hmm|yes|no|so|then|now|hello|hi)\s?[,!.:…-]{1,5}\s
    | (?:here\ is|here'?s|here\ are)\s
    | (?:based\ on|given)\ [^,\n]{1,200},\s
    | (?:i|i'd|i'll|i'm|we|let\ me|let's)\s
        (?:(?:would|will|can|am|do|going|have|to|gonna|now|then|still|just|pretty|very|quite)\s){0,4}
        (?:think|guess|guessing|believe|say|suspect|bet|assume|suppose|go\ with|choose|pick|try|confident|sure)[:,]?\s
        (?:(?:that|it\ to\ be)\s)?
    | (?:(?:the|my|your|our|this|a)\s)?
        (?:(?:final|best|next|first|last|current|correct|secret|educated|one)\s){0,3}
        (?:guess|answer|keyword|word|phrase|response|object|item|thing|reply)\s?
        (?: (?:is|was|(?:would|will|might|could|may|must|should)\ be)\s?[:=]?\s (?:that\ it(?:\ is|'s)\s)?
          | (?:[:=]|->)\s?)
    | (?:is|was|could|might|would|can)\s(?:it|this|that|the\ keyword|the\ word)\s(?:be\s)?
    | (?:it|this|that|he|she|they)\s?
        (?:['’]s|is|was|are|has\ to\ be|(?:might|could|may|must|would|should)\ be)\s
    | (?:probably|likely|most\ likely|maybe|perhaps|possibly|definitely|simply|something\ like)[,:]?\s
    | (?:some|a|one)\ (?:kind|sort|type)\ of\s
    | (?:a|an|the)\s
    | \d{1,2}[.)]\s
    """,
    re.I | re.X,
)
_ENDINGS = re.compile(
    r"""(?: \s(?:because|since|as\ it|is\ my|would\ be\ my|is\ the\ (?:keyword|answer)|given|based\ on)\b
      | ,\s(?:because|since|which|as|given|based|but|right|correct|i)\b
      | \s[-–—]{1,3}\s | \s[(\[] | [;!?…] | :\s ).*""",
    re.I | re.X,
)
_STOP = re.compile(r"\.(?=\s)")
_ABBREVIATIONS = frozenset(["st", "mt", "dr", "mr", "mrs", "ms", "jr", "sr", "ft", "vs", "prof", "gen"])
_MARKUP = {ord(character): " " for character in "*_`~#|"}
_EDGES = " \t\n\r.,:;!?\"'`*_~#-–—=|/\\<>[](){}“”„«»‘’…。、！？"


def bare_phrase(text: str) -> str:
    """Return the word or phrase that ``text`` guesses, without markup, openings, articles and explanations.

    Case is kept. Returns "" when no letter or digit is left; anything that is not a string counts as "".

    >>> bare_phrase("Sure! My final guess is: **Air Conditioner**")
    'Air Conditioner'
    >>> bare_phrase("Is it the Eiffel Tower? It is in Paris.")
    'Eiffel Tower'
    """
    if not isinstance(text, str):
        return ""
    text = text.rpartition("</think>")[2]
    plain = _TAG.sub(" ", _UNWRITABLE.sub("", text[:_READ]))
    phrase = _without_openings(_marked_span(plain) or _first_line(plain))
    phrase = _first_sentence(phrase).strip(_EDGES)
    return phrase if _says_something(phrase) else ""


def _says_something(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _marked_span(text: str) -> str | None:
    """Return the first span marked by brackets, bold or quotes that is not a label ("**Guess:**")."""
    for pattern in _SPANS:
        for found in pattern.finditer(text):
            span = found[1].strip()
            announces = span.endswith(":") or text[found.end() : found.end() + 1] == ":" or _LABEL.fullmatch(span)
            if _says_something(span) and not announces:
                return span
    return None


def _first_line(text: str) -> str:
    """Return the first line that says something; a line that ends in a colon only announces the next one."""
    lines = [" ".join(line.translate(_MARKUP).split()) for line in text.splitlines()]
    lines = [line for line in lines if _says_something(line)]
    chosen = next((line for line in lines if not line.endswith(":")), lines[0] if lines else "")
    labelled = _LABELLED.search(chosen)
    if labelled and ". " not in chosen[: labelled.start()]:
        return chosen[labelled.end() :].strip() or chosen
    return chosen


def _without_openings(phrase: str) -> str:
    phrase = " ".join(phrase.split())
    for _ in range(12):
        phrase = phrase.lstrip(_EDGES)
        found = _OPENINGS.match(phrase)
        if not found or not _says_something(phrase[found.end() :]):
            break
        phrase = phrase[found.end() :]
    return phrase


def _first_sentence(phrase: str) -> str:
    """Cut explanations and further sentences; "St. Louis" and "Washington D.C. area" hold no sentence end."""
    cut = _ENDINGS.sub("", phrase) or phrase
    for stop in _STOP.finditer(cut):
        word = cut[: stop.start()].rpartition(" ")[2].lower().strip(_EDGES)
        if not (word in _ABBREVIATIONS or len(word) == 1 or "." in word):
            return cut[: stop.start()]
    return cut
