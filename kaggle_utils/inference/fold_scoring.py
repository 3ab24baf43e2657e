"""Predictions of a fold's model through the engine, for ``training.kfold.run_kfold(predict=engine_logits)``.

It promises logits in the order of the rows, one for each row, and that a prediction which was killed goes on from what
it had stored. It knows nothing of folds: a folder, rows and a device come in.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from kaggle_utils.inference.engine import score_rows
from kaggle_utils.inference.fingerprint import run_fingerprint
from kaggle_utils.inference.judges import bfloat16_scorer, packed_scorer
from kaggle_utils.inference.specs import ScorerSpec

if TYPE_CHECKING:
    import numpy as np

    from kaggle_utils.data.tokenization import TokenRows

__all__ = ["engine_logits"]

_PACK_TOKENS = 16_384


def engine_logits(folder: Path, rows: TokenRows, device: str) -> np.ndarray:
    """Score ``rows`` with the classifier in ``folder`` on ``device``: float32 [N, C].

    In half precision where the device has it, in packs, DeBERTa without padding. Results lie in ``scores.sqlite``
    beside the folder until they are all there.

    Raises:
        RuntimeError: rows that no attempt gave a finite answer, by number.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    labels = len(config.get("id2label") or ()) or 2  # transformers' default, which it does not write down
    kind = device.partition(":")[0]
    spec = ScorerSpec(
        "fold", packed_scorer, {"folder": str(folder), "max_tokens": _PACK_TOKENS, "num_labels": labels},
        fingerprint=run_fingerprint(folder, device=kind), num_labels=labels, safe=bfloat16_scorer,
    )  # fmt: skip
    store = folder.parent / "scores.sqlite"
    result = score_rows(rows, [spec], devices=[device], workers="threads", store=store, progress=False)
    if lost := result.missing:
        raise RuntimeError(
            f"{folder} gave no logits for {len(lost)} of {len(rows)} rows ({lost[:10]}); {result.report.to_text()}"
        )
    for file in folder.parent.glob("scores.sqlite*"):
        file.unlink(missing_ok=True)
    return result.logits["fold"]
