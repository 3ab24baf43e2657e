"""``run_kfold`` on real rows: all-MiniLM-L6-v2 in 5 folds by prompt, both orders of A and B, out-of-fold log loss.

Predictions are the engine's, of both orders, averaged. Beside them, on the same folds: the class prior, and a logistic
regression on lengths and word overlaps. preference_quality.py trains the same encoder in a loop of its own.

    python benchmarks/kfold_quality.py            # three runs of 5 folds: minutes on a GPU, hours on two cores
    python benchmarks/kfold_quality.py --quick    # two folds of a few rows: only that it runs

The rows are a CSV in the LMSYS layout with labels: ``--data``, or pairwise/lmsys_like_human.csv in the folder that
KAGGLE_UTILS_SHARED_DATA names. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from _encoder_training import MeasuringTokenizer, order_measures
from _hand_features import HandModel
from _report import benchmark_parser, save
from preference_quality import default_data, default_model, folds_of, inputs_are_here

from kaggle_utils.data.pairs import PairTable, read_pairs
from kaggle_utils.data.probabilities import softmax
from kaggle_utils.data.tokenization import TokenRows
from kaggle_utils.inference.answer_rules import class_prior
from kaggle_utils.inference.fold_scoring import engine_logits
from kaggle_utils.training.folds import fold_splits
from kaggle_utils.training.kfold import run_kfold
from kaggle_utils.training.kfold_settings import KFoldSettings
from kaggle_utils.training.metrics import accuracy, expected_calibration_error, log_loss

SETTINGS = KFoldSettings(
    learning_rate=1e-4, num_train_epochs=4, per_device_train_batch_size=32, label_smoothing_factor=0.1,
    layerwise_lr_decay=0.95, swap_augmentation=True, eval_strategy="no", save_strategy="no",
    load_best_model_at_end=False,
)  # fmt: skip
QUICK = {"num_train_epochs": 1, "folds": (0, 1)}


def prepared(model: Any) -> Any:
    """The embeddings of the tokens that measure answers, in order; see _encoder_training.py."""
    with torch.no_grad():
        order_measures(model.get_input_embeddings().weight)
    return model


def out_of_fold(args: argparse.Namespace, table: PairTable, assigned: np.ndarray, seed: int) -> np.ndarray:
    """Probabilities of one run, both orders averaged: [N, 3], nan where no fold was run."""
    reader = MeasuringTokenizer(transformers.AutoTokenizer.from_pretrained(args.model), max_length=args.max_length)
    rows, swapped = (reader.encode(table.pairs, swapped=order) for order in (False, True))
    settings = dataclasses.replace(SETTINGS, seed=seed, **(QUICK if args.quick else {}))
    with tempfile.TemporaryDirectory() as folder:
        result = run_kfold(
            args.model, rows, table.labels, assigned, folder=folder, settings=settings, num_labels=3,
            swapped_rows=swapped, predict=engine_logits, prepare_model=prepared, about=reader.settings(),
        )  # fmt: skip
        print(result.to_text(), flush=True)
        other = np.full_like(result.probabilities, np.nan)
        for fold, model in zip(result.fold_metrics, result.models, strict=True):
            held_out = np.flatnonzero(assigned == fold)
            chosen = TokenRows.of(swapped.ids[row] for row in held_out)
            other[held_out] = softmax(engine_logits(model, chosen, args.device))[:, [1, 0, 2]]
    return (result.probabilities + other) / 2


def baselines(table: PairTable, assigned: np.ndarray) -> dict[str, np.ndarray]:
    """Out-of-fold probabilities [N, 3] of what a judge has to beat."""
    found = {name: np.empty((len(table), 3)) for name in ("prior", "hand features")}
    for train, held_out in fold_splits(assigned):
        chosen = table.take(train)
        found["prior"][held_out] = class_prior(chosen.labels, num_labels=3)
        found["hand features"][held_out] = HandModel(chosen.pairs, chosen.labels).predict(table.take(held_out).pairs)
    return found


def figures_of(found: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, float]:
    """Print the table; return the figures."""
    known = np.isfinite(found["encoder"]).all(axis=1)
    figures: dict[str, float] = {"rows": int(known.sum())}
    print(f"{'':18} log loss  accuracy  calibration error")
    for name, values in found.items():
        shown, wanted = values[known], labels[known]
        loss, right = log_loss(shown, wanted), accuracy(shown, wanted)
        print(f"{name:18} {loss:8.4f}  {right:8.3f}  {expected_calibration_error(shown, wanted):8.3f}")
        figures["log_loss_" + name.replace(",", "").replace(" ", "_")] = round(loss, 4)
    figures["accuracy_encoder"] = round(accuracy(found["encoder"][known], labels[known]), 4)
    return figures


def arguments() -> argparse.Namespace:
    parser = benchmark_parser(__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=default_data(), help="labelled CSV in the LMSYS layout")
    parser.add_argument("--model", type=Path, default=default_model(), help="encoder folder, float32 or float16")
    parser.add_argument("--fold-file", type=Path, help="CSV of id and fold, as training.folds.write_folds writes")
    parser.add_argument("--runs", type=int, default=3, help="runs with other seeds; they are averaged")
    parser.add_argument("--max-length", type=int, default=384, help="tokens of a row")
    return parser.parse_args()


def main() -> None:
    """Measure, print, and save a full run."""
    args = arguments()
    if not inputs_are_here(args):
        return
    transformers.logging.set_verbosity_error()  # a new head is not news here
    args.device = "cuda:0" if torch.cuda.is_available() else "cpu"
    table = read_pairs(args.data)
    if args.quick:
        args.runs, args.max_length = 1, 64
        table = table.take(np.random.default_rng(0).permutation(len(table))[:160])
    assigned = folds_of(table, args.fold_file)
    started = time.perf_counter()
    runs = [out_of_fold(args, table, assigned, seed=42 + 100 * number) for number in range(args.runs)]
    seconds = time.perf_counter() - started
    found = {**baselines(table, assigned), "encoder, one run": runs[0], "encoder": np.mean(runs, axis=0)}
    figures = {**figures_of(found, table.labels), "seconds": round(seconds, 1)}
    if not args.quick:
        headline = (
            f"log loss {figures['log_loss_encoder']} out of fold on {figures['rows']} real rows, folds by prompt "
            f"({args.runs} runs averaged; one alone {figures['log_loss_encoder_one_run']}); prior "
            f"{figures['log_loss_prior']}, hand features {figures['log_loss_hand_features']}; {seconds:.0f} s"
        )
        save("kfold_quality", figures, headline=headline, packages=("torch", "transformers", "numpy"),
             details={"settings": SETTINGS.as_dict(), "runs": args.runs, "folds": int(assigned.max()) + 1})  # fmt: skip
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
