"""What a pack may hold, and which models can be scored in packs; asked before a kernel fails with words of its own.

It promises a ValueError that names the row or the model, what was expected and what to do. It computes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["check_family", "check_pack", "longest_row"]

_DECODERS = "Gemma-2, Llama, Mistral, Phi-3, Qwen2 and Qwen3 (layers at .model.layers, head at .score)"
_ENCODERS = "BERT, RoBERTa, ELECTRA and DeBERTa (layers at .encoder.layer)"


def check_family(model: torch.nn.Module, *, masked: bool) -> None:
    """Raise ValueError unless the layers and the head of ``model`` lie where packs are sent through them.

    Args:
        model: a sequence classifier.
        masked: it is scored as an encoder.
    """
    if masked:
        known = hasattr(getattr(model.base_model, "encoder", None), "layer")
    else:
        known = hasattr(getattr(model, "model", None), "layers") and hasattr(model, "score")
    if not known:
        raise ValueError(
            f"{type(model).__name__} cannot be scored in packs; expected a sequence classifier built like {_DECODERS} "
            f"or {_ENCODERS}. Score it with a scorer of your own (anything with ``score(rows)``), or use a model "
            "of one of these families"
        )


def longest_row(model: torch.nn.Module) -> int | None:
    """Tokens of the longest row that the model has positions for; None where they are computed, not looked up.

    RoBERTa keeps the first rows of its table for padding: 514 rows are positions for 512 tokens.
    """
    table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    if table is None:
        return None
    padding = getattr(table, "padding_idx", None)
    return table.num_embeddings - (padding + 1 if padding is not None else 0)


def check_pack(rows: Sequence[np.ndarray], *, vocabulary: int, longest: int | None) -> None:
    """Raise ValueError for rows that the model cannot read.

    Args:
        rows: integer arrays [length of row].
        vocabulary: how many token ids have an embedding.
        longest: of :func:`longest_row`.

    >>> check_pack([np.array([7, 8, 9])], vocabulary=10, longest=2)
    Traceback (most recent call last):
    ValueError: a row of 3 tokens (row 0 of a pack of 1), the model has positions for 2; lower max_length
    """
    empty = [i for i, row in enumerate(rows) if not len(row)]
    if empty or not len(rows):
        raise ValueError(f"rows {empty} of a pack of {len(rows)} have no tokens; every row needs at least one")
    largest = max(int(np.max(row)) for row in rows)
    if largest >= vocabulary:  # on a GPU such an id is an assertion that takes the whole process down
        raise ValueError(
            f"token id {largest} is outside the model's vocabulary of {vocabulary}; was the row tokenised for it?"
        )
    at = max(range(len(rows)), key=lambda i: len(rows[i]))
    if longest is not None and len(rows[at]) > longest:
        raise ValueError(
            f"a row of {len(rows[at])} tokens (row {at} of a pack of {len(rows)}), the model has positions for "
            f"{longest}; lower max_length"
        )
