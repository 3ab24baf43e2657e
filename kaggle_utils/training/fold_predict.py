"""Logits of token rows from a model folder, in the order of the rows: what a fold predicts with unless told otherwise.

It promises one finite row of logits for every row, in their order. It is plain: rows sorted by length, padded batches,
autocast where the GPU has it. A faster engine has the same signature and is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from kaggle_utils._optional import require
from kaggle_utils.data.tokenization import TokenRows
from kaggle_utils.training.fold_batches import pad_rows
from kaggle_utils.training.fold_model import PrepareModel
from kaggle_utils.training.run_identity import callable_name
from kaggle_utils.training.team import Team, TeamError

__all__ = ["Predict", "checked_logits", "predict_logits", "predict_together"]

Predict = Callable[[Path, TokenRows, str], np.ndarray]
"""(model folder, token rows, device) -> logits, float32 [N, C], in the order of the rows. The device is ``"cpu"`` or
``"cuda:0"`` (a fold's process sees its own GPU only). It must be importable by name where folds run in processes."""


def predict_logits(
    folder: Path,
    rows: TokenRows,
    device: str,
    *,
    max_tokens: int = 16384,
    mixed_precision: str = "auto",
    prepare_model: PrepareModel | None = None,
    progress: bool = True,
) -> np.ndarray:
    """Return the logits of ``rows``, float32 [N, C].

    Args:
        folder: an ordinary model folder.
        rows: with at least one row.
        device: as torch calls it.
        max_tokens: padded tokens of a batch; a longer row is a batch of its own.
        mixed_precision: of ``KFoldSettings``.
        prepare_model: changes the loaded model, as in training.
        progress: a bar after 2 s.
    """
    torch, transformers = require("torch", extra="llm"), require("transformers", extra="llm")
    place = torch.device(device)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    model = (model if prepare_model is None else prepare_model(model)).to(place).eval()
    half = _half(torch, place, mixed_precision)
    logits = np.empty((len(rows), model.config.num_labels), dtype=np.float32)
    with (
        torch.inference_mode(),
        torch.autocast(place.type, dtype=half, enabled=half is not None),
        tqdm(total=len(rows), desc="predict", unit="row", delay=2, disable=not progress) as bar,
    ):
        for chosen in _batches(rows.lengths, max_tokens):
            padded = pad_rows([rows.ids[i] for i in chosen], pad_id=model.config.pad_token_id or 0)
            batch = {name: torch.from_numpy(array).to(place) for name, array in padded.items()}
            logits[chosen] = model(**batch).logits.float().cpu().numpy()
            bar.update(len(chosen))
    return logits


def predict_together(predict: Predict, folder: Path, rows: TokenRows, *, labels: int, team: Team) -> np.ndarray:
    """Return the logits of ``rows``, float32 [N, C], in every process of ``team``: each predicts its share of them.

    Args:
        predict: gives the logits of some rows.
        folder: of the model.
        rows: all N of them.
        labels: C.
        team: the processes that call this.

    Raises:
        ValueError: logits of another shape, or not finite.
        TeamError: such logits in another process.
    """
    order = np.argsort(-rows.lengths, kind="stable")
    mine = np.sort(order[team.rank :: team.size])  # long and short rows for each
    share = TokenRows.of([rows.ids[row] for row in mine]) if team.size > 1 else rows
    failure: Exception | None = None
    found = np.empty((0, labels), dtype=np.float32)
    try:
        if len(share):
            logits = predict(folder, share, team.device)
            found = checked_logits(logits, rows=len(share), labels=labels, who=str(callable_name(predict)))
    except Exception as error:  # told to the others first
        failure = error
    problems = team.gather(f"{type(failure).__name__}: {failure}" if failure else None)
    if failure is not None:
        raise failure
    if told := [f"process {rank}: {text}" for rank, text in enumerate(problems) if text]:
        raise TeamError("; ".join(told))
    logits = np.empty((len(rows), labels), dtype=np.float32)
    for rank, part in enumerate(team.gather_rows(found)):
        logits[np.sort(order[rank :: team.size])] = part
    return logits


def checked_logits(logits: Any, *, rows: int, labels: int, who: str) -> np.ndarray:
    """Return what a ``predict`` gave as float32 [N, C].

    Raises:
        ValueError: another shape, or rows that are not finite.
    """
    found = np.asarray(logits, dtype=np.float32)
    if found.shape != (rows, labels):
        raise ValueError(f"{who} returned logits of shape {found.shape} for {rows} rows; expected ({rows}, {labels})")
    lost = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(lost):
        raise ValueError(
            f"{who} returned {len(lost)} rows that are not finite, such as row {lost[:5].tolist()}: training diverged, "
            "or float16 overflowed; lower the learning rate, or set mixed_precision='bf16' or 'no'"
        )
    return found


def _batches(lengths: np.ndarray, max_tokens: int) -> Iterator[np.ndarray]:
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        count = max(1, max_tokens // int(lengths[order[start]]))
        yield order[start : start + count]
        start += count


def _half(torch: Any, place: Any, precision: str) -> Any:
    """The 16-bit type to compute in; None for float32."""
    if precision == "auto":
        if place.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.get_device_capability(place) >= (8, 0) else torch.float16
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "no": None}[precision]
