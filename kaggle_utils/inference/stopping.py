"""When a reply ends.

It promises that generation stops at every token that ends a turn, at the caller's strings, and at the clock. It does
not know how tokens are chosen.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from kaggle_utils._optional import require

__all__ = ["StopAtDeadline", "StopAtStrings", "cut_at_stop_string", "stop_token_ids"]


def stop_token_ids(tokenizer: Any, model: Any, end_of_turn: Iterable[str] = ()) -> list[int]:
    """Return the ids that end a reply: the template's ends of turn, the tokenizer's EOS and those of the model.

    Gemma's tokenizer names only ``<eos>``, which an instruction-tuned Gemma never writes; Llama 3 has three ends.
    """
    found: set[int] = set()
    for text in end_of_turn:
        number = tokenizer.convert_tokens_to_ids(text)
        if number is not None and tokenizer.convert_ids_to_tokens(number) == text:
            found.add(int(number))
    sources = (tokenizer, getattr(model, "generation_config", None), getattr(model, "config", None))
    for source in sources:
        value = getattr(source, "eos_token_id", None)
        found.update(
            int(number) for number in (value if isinstance(value, (list, tuple)) else [value]) if number is not None
        )
    return sorted(found)


def cut_at_stop_string(text: str, stop_strings: Sequence[str]) -> str:
    """Return ``text`` up to the first of ``stop_strings`` in it.

    >>> cut_at_stop_string("Is it red?\\nIs it blue?", ["\\n", "blue"])
    'Is it red?'
    """
    ends = [position for stop in stop_strings if (position := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text


class StopAtDeadline:
    """Stop every row once the monotonic clock passes ``deadline``."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        """Return which rows are done, bool [rows]; ``input_ids`` is int64 [rows, tokens so far]."""
        torch = require("torch", extra="llm")
        done = time.monotonic() >= self.deadline
        return torch.full((input_ids.shape[0],), done, dtype=torch.bool, device=input_ids.device)


class StopAtStrings:
    """Stop a row once its new text holds one of ``stop_strings``.

    The new tokens are decoded, so that a string is found however the tokenizer splits it. A row that stopped is padded
    by ``generate`` and must stay stopped, hence the memory.
    """

    def __init__(self, tokenizer: Any, stop_strings: Sequence[str], *, prompt_width: int) -> None:
        self.tokenizer, self.stop_strings, self.prompt_width = tokenizer, tuple(stop_strings), prompt_width
        # A token is at least one byte and a character at most four.
        self.window = 4 * max(map(len, self.stop_strings)) + 8
        self.done: set[int] = set()

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        """Return which rows are done, bool [rows]; ``input_ids`` is int64 [rows, tokens so far]."""
        torch = require("torch", extra="llm")
        start = max(self.prompt_width, input_ids.shape[1] - self.window)
        texts = self.tokenizer.batch_decode(input_ids[:, start:], skip_special_tokens=True)
        self.done.update(i for i, text in enumerate(texts) if any(stop in text for stop in self.stop_strings))
        rows = [i in self.done for i in range(input_ids.shape[0])]
        return torch.tensor(rows, dtype=torch.bool, device=input_ids.device)
