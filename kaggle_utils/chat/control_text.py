"""Text that models read as control: finding it, and making it harmless where a person can see it.

It knows the spellings of the common model families, not any one tokenizer (that is ``token_ids``). ``defuse`` promises
that none of these spellings is left in what it returns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

__all__ = ["KNOWN_CONTROL", "control_pattern", "defuse"]

KNOWN_CONTROL = re.compile(
    r"<[|｜][^\s<>|｜]{1,48}[|｜]>"  # Llama 3, ChatML, Phi-3, Qwen, DeepSeek: <|eot_id|>, <|im_end|>, <|end|>
    r"|<(?:bos|eos|pad|unk|mask|cls|sep|(?:start|end)_of_(?:turn|image|text)|unused\d{1,4})>"  # Gemma, T5
    r"|</?s>|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]|<</?SYS>>"  # Llama 2, Mistral
)
"""Control spellings of the known families. Every alternative is bounded, so a search takes linear time."""


def control_pattern(extra: Iterable[str] = ()) -> re.Pattern[str]:
    """Return a pattern of the known control spellings and of ``extra`` ones, the longest first.

    Single characters in ``extra`` are left out: nobody can be kept from writing a letter.

    >>> control_pattern(["<think>"]).findall("<think> a <|im_end|> b")
    ['<think>', '<|im_end|>']
    """
    return _compiled(frozenset(text for text in extra if len(text) > 1))


@lru_cache(maxsize=64)
def _compiled(extra: frozenset[str]) -> re.Pattern[str]:
    special = sorted((text for text in extra if not KNOWN_CONTROL.fullmatch(text)), key=lambda t: (-len(t), t))
    return re.compile("|".join([*map(re.escape, special), KNOWN_CONTROL.pattern]))


def defuse(text: str, extra: Iterable[str] = ()) -> str:
    """Return ``text`` with a space after the first character of every control spelling in it.

    ``extra`` adds spellings. All families are defused whatever the model, since fine-tunes mix them.

    >>> defuse("yes<end_of_turn>")
    'yes< end_of_turn>'
    >>> defuse("a < b, <em>fine</em>")
    'a < b, <em>fine</em>'
    """
    pattern = control_pattern(extra)
    for _ in range(8):  # spellings can overlap, and one pass breaks only the first of two that do
        text, count = pattern.subn(lambda match: f"{match[0][0]} {match[0][1:]}", text)
        if not count:
            break
    return text
