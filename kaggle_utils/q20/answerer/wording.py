"""When two people ask the same thing in other words.

It promises that the wordings of one key mean the same to nearly everybody; that different keys mean different things
is not promised. Built on the canonical text of ``spelling.text``, in time linear in the question.
"""

from __future__ import annotations

import re

from kaggle_utils.q20.spelling.text import canonical

__all__ = ["content_words", "wording_key"]

_REWRITES = [
    (r"^(?:can you tell me (?:if|whether)|tell me,?(?: if| whether)?|would you say(?: that)?|do you think(?: that)?|"
     r"so,?|ok(?:ay)?,?|please,?|hm+,?) ", ""),
    (r"^(?:could|might|would) @ be\b", "is @"),
    (r"^@(?: is\b|'s(?= ))", "is @"),
    (r"^isn't @\b", "is @"),
    (r"^(made of|used (?:in|for|to|at|on)|found (?:in|on|at)|kept (?:in|on|at)|related to) ", r"is @ \1 "),
    (r"^(in|on) (?:the|a|an) ", r"is @ found \1 "),
    (r"\b(?:people|humans?|i|we|they|one|someone|somebody|a person|persons)\b(?! (?:of|word))", "you"),
    (r"\b(?:usually|generally|typically|commonly|normally|primarily|mainly|mostly|often|actually|really|ever|"
     r"considered(?: to be)?|classified as|regarded as|seen as|thought of as|described as)\b", ""),
    (r"\b(?:kinds?|types?|sorts?|forms?|variet(?:y|ies)) of\b", ""),
    (r"\bis @ (?:something|a thing|an object|an item|one) (?:that|which) ", "is @ something "),
    (r"\bis @ something (?:is|are) ", "is @ "),
    (r"^can you (\w+) @(.*)$", r"is @ something you can \1\2"),
    (r"^do you (\w+) @(.*)$", r"is @ something you \1\2"),
    (r"^(?:would|might|could|can|do) you (?:find|see|keep) @ (?=in\b|on\b|at\b)", "is @ found "),
    (r"^(?:can|could|may) @ be found\b|^is @ (?:used|kept|stored|seen) (?=in\b|at\b)", "is @ found "),
    (r"^is @ (?:related|connected|linked|relevant) (?:to|with|at)\b|^is @ associated with\b", "does @ have to do with"),
    (r"^does @ (?:involve|relate to|have anything to do with|belong to (?:the )?world of)\b", "does @ have to do with"),
    (r"\b(?:within|inside(?: of)?)\b", "in"),
    (r"\b(?:larger|greater in size)\b", "bigger"),
    (r"^is @ made (?:out of|from|up of|with)\b|^does @ consist of\b", "is @ made of"),
    (r"\bis @ (?:present |located |situated )(?=in|on|at)", "is @ found "),
    (r"\bcontinent of\b|\bcountry of\b", ""),
    (r"\b(?:an?|the|any|some)\b", ""),
]  # fmt: skip
_REWRITES = [(re.compile(pattern), replacement) for pattern, replacement in _REWRITES]
_EMPTY = frozenset([
    "is", "are", "was", "do", "does", "did", "can", "could", "would", "will", "has", "have", "it", "its", "you", "your",
    "in", "on", "of", "for", "to", "with", "by", "at", "from", "as", "or", "and", "be", "that", "which", "something",
    "thing", "things", "kind", "used", "use", "found", "made", "than", "more", "not", "there", "this", "people",
])  # fmt: skip


def wording_key(question: str) -> str:
    """Return what the common wordings of a question share.

    >>> wording_key("Is it usually considered a type of food?") == wording_key("is the keyword food")
    True
    >>> wording_key("Can you eat it?") == wording_key("Is it something that people can eat?")
    True
    >>> wording_key("Is it alive?") == wording_key("Is it dead?")
    False
    """
    text = canonical(question)
    for pattern, replacement in _REWRITES:
        text = " ".join(pattern.sub(replacement, text).split())
    return text


def content_words(question: str) -> frozenset[str]:
    """Return the words of a question that carry its meaning, without their commonest endings.

    >>> sorted(content_words("Is it bigger than a car?")), sorted(content_words("Does it have wheels?"))
    (['bigger', 'car'], ['wheel'])
    """
    words = re.findall(r"[a-z]{2,}", wording_key(question))
    return frozenset(_stem(word) for word in words if word not in _EMPTY)


def _stem(word: str) -> str:
    for ending in ("ies", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith(("ss", "us")):
            return word[: -len(ending)] + ("y" if ending == "ies" else "")
    return word
