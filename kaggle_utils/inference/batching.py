"""Items into batches of like length, results back in the items' order.

It promises that every item is computed once and that running out of GPU memory costs time, not results. It does not
know what an item is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tqdm.auto import tqdm

from kaggle_utils._optional import require

__all__ = ["left_pad", "run_in_batches"]

_logger = logging.getLogger(__name__)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def run_in_batches(
    items: Sequence[_Item],
    run: Callable[[list[_Item]], list[_Result]],
    *,
    batch_size: int,
    length: Callable[[_Item], int] = len,  # type: ignore[assignment]
    progress: str = "",
) -> list[_Result]:
    """Apply ``run`` to batches of ``items``, longest items first, and return the results in the order of ``items``.

    When a GPU runs out of memory the batch is halved, down to one item, and the smaller size is kept for the rest.
    With a name in ``progress``, a bar is shown when there are several batches and they take more than 2 s.

    >>> run_in_batches(["ccc", "a", "bb"], lambda batch: [text.upper() for text in batch], batch_size=2)
    ['CCC', 'A', 'BB']

    Raises:
        ValueError: ``batch_size`` below 1.
        torch.cuda.OutOfMemoryError: one item alone does not fit.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; expected at least 1")
    order = sorted(range(len(items)), key=lambda i: -length(items[i]))
    results: dict[int, _Result] = {}
    position, size = 0, batch_size
    with tqdm(total=len(items), desc=progress, delay=2, disable=not progress or len(items) <= batch_size) as bar:
        while position < len(order):
            chosen = order[position : position + size]
            outputs = _attempt(run, [items[i] for i in chosen])
            if outputs is None:
                size = max(1, len(chosen) // 2)
                _logger.warning("out of GPU memory with %d prompts at once; going on with %d", len(chosen), size)
                continue
            if len(outputs) != len(chosen):
                raise ValueError(f"a batch of {len(chosen)} items gave {len(outputs)} results")
            results.update(zip(chosen, outputs, strict=True))
            position += len(chosen)
            bar.update(len(chosen))
    return [results[i] for i in range(len(items))]


def _attempt(run: Callable[[list[_Item]], list[_Result]], batch: list[_Item]) -> list[_Result] | None:
    """Return None when the GPU is out of memory and a smaller batch may help."""
    try:
        return run(batch)
    except Exception as error:
        if len(batch) == 1 or not _is_out_of_memory(error):
            raise
    # Only here, when the exception and the tensors that its traceback held are gone, can memory be given back.
    require("torch", extra="llm").cuda.empty_cache()
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, require("torch", extra="llm").cuda.OutOfMemoryError)


def left_pad(rows: Sequence[Sequence[int]], *, pad_id: int, device: Any = "cpu") -> tuple[Any, Any]:
    """Return token ids and attention mask, int64 tensors [rows, longest], with the padding on the left.

    Decoders continue a prompt at its last position, so that position must be the same column in every row.
    """
    torch = require("torch", extra="llm")
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, width - len(row) :] = torch.tensor(row, dtype=torch.long)
        mask[i, width - len(row) :] = 1
    return ids.to(device), mask.to(device)
