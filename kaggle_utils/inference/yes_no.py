"""The probability of yes, read off the next token's logits.

It promises one forward pass, no sampling, and a sum over the ways to write yes and no. It does not know whether the
model's yes is true: calibrate it on questions with known answers.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from kaggle_utils._optional import require
from kaggle_utils.inference.batching import left_pad

__all__ = ["NO_SPELLINGS", "YES_SPELLINGS", "next_token_logits", "probability_of_yes", "yes_no_token_ids"]

YES_SPELLINGS = ("yes", "Yes", "YES", " yes", " Yes", " YES")
"""Ways a reply may begin that mean yes."""
NO_SPELLINGS = ("no", "No", "NO", " no", " No", " NO")
"""Ways a reply may begin that mean no."""


def yes_no_token_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the first-token ids of the spellings of yes and of no, sorted, without those that begin both.

    Raises:
        ValueError: the tokenizer leaves yes or no without a first token of its own.
    """
    yes, no = _first_tokens(tokenizer, YES_SPELLINGS), _first_tokens(tokenizer, NO_SPELLINGS)
    shared = yes & no  # such as a lone space
    if not yes - shared or not no - shared:
        raise ValueError(
            f"this tokenizer begins every spelling of {'yes' if not yes - shared else 'no'} with a token that also "
            f"begins the other answer (shared ids {sorted(shared)}); yes_no cannot tell them apart, use generate"
        )
    return sorted(yes - shared), sorted(no - shared)


def next_token_logits(model: Any, rows: Sequence[Sequence[int]], *, pad_id: int) -> Any:
    """Return the logits after the last token of each row: float32 on the CPU, [rows, vocabulary].

    Only the last position's logits are computed where the model can do that; all of them at 4,000 tokens would be
    gigabytes.
    """
    torch = require("torch", extra="llm")
    ids, mask = left_pad(rows, pad_id=pad_id, device=model.get_input_embeddings().weight.device)
    takes = inspect.signature(model.forward).parameters
    options: dict[str, Any] = {}
    if "position_ids" in takes:  # counted from the first real token, or the padding would shift them
        options["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    if "logits_to_keep" in takes:
        options["logits_to_keep"] = 1
    with torch.inference_mode():
        return model(input_ids=ids, attention_mask=mask, use_cache=False, **options).logits[:, -1].float().cpu()


def probability_of_yes(logits: Any, yes_ids: Sequence[int], no_ids: Sequence[int]) -> list[float]:
    """Return P(yes) / (P(yes) + P(no)) for each row of ``logits``, float32 [rows, vocabulary].

    Raises:
        FloatingPointError: logits that are not finite.
    """
    torch = require("torch", extra="llm")
    yes, no = logits[:, list(yes_ids)], logits[:, list(no_ids)]
    if not (torch.isfinite(yes).all() and torch.isfinite(no).all()):
        raise FloatingPointError(
            "the logits of yes or no are not finite: the model overflows in its dtype; load it with dtype='float32', "
            "or 'bfloat16' on a GPU that has it"
        )
    return torch.sigmoid(yes.logsumexp(-1) - no.logsumexp(-1)).tolist()


def _first_tokens(tokenizer: Any, spellings: Sequence[str]) -> set[int]:
    return {tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in spellings}
