"""How well questions are answered: by rule, from the shipped table, by a small language model.

Measured on questions that people asked and answered; the model before and after calibration.

Needs the folder of real data (``KAGGLE_UTILS_SHARED_DATA``, by default ../shared/data beside the checkout).
"""

from __future__ import annotations

import csv
import json
import os
import random
from pathlib import Path

import numpy as np
from _report import ROOT

from kaggle_utils.q20.answerer.answerer import Answerer
from kaggle_utils.q20.answerer.prompts import PROMPTS
from kaggle_utils.q20.knowledge.calibration import expected_calibration_error, fit_calibration
from kaggle_utils.q20.questions import parse_question

__all__ = ["figures", "labelled_rows", "model_figures", "rule_figures", "table_figures"]

Found = tuple[dict[str, float], list[str]]
Row = tuple[str, str, str, bool]
"""Where it is from, the thing, the question, the answer."""

_ANSWERS = {"always": True, "usually": True, "rarely": False, "never": False}
_ZOO = {
    "hair": "Does it have hair?", "feathers": "Does it have feathers?", "eggs": "Does it lay eggs?",
    "milk": "Does it give milk?", "airborne": "Can it fly?", "aquatic": "Does it live in water?",
    "predator": "Is it a predator?", "toothed": "Does it have teeth?", "backbone": "Does it have a backbone?",
    "breathes": "Does it breathe air?", "venomous": "Is it venomous?", "fins": "Does it have fins?",
    "tail": "Does it have a tail?", "domestic": "Is it a domestic animal?",
    "catsize": "Is it at least as big as a cat?",
}  # fmt: skip


def figures(quick: bool) -> Found:
    """Rules, table and, in a full run, the small model."""
    folder = Path(os.environ.get("KAGGLE_UTILS_SHARED_DATA", ROOT.parent / "shared" / "data")) / "q20"
    if not folder.is_dir():
        return {}, [f"skipped: no real data at {folder}"]
    parts = [rule_figures(folder), table_figures(folder)]
    if not quick:
        parts.append(model_figures(folder))
    return {name: value for part in parts for name, value in part.items()}, [
        f"{name:32} {value:9.4f}" for part in parts for name, value in part.items()
    ]


def rule_figures(folder: Path) -> dict[str, float]:
    """A real game: questions that rules answer, and as they were answered there; questions about meaning: none."""
    episode = json.loads((folder / "kaggle_replay_55924766.json").read_text(encoding="utf-8"))
    seats = [seat["observation"] for seat in episode["steps"][-1]]
    keyword = next(seat["keyword"] for seat in seats if seat.get("keyword"))
    asked = [pair for seat in seats[::2] for pair in zip(seat["questions"], seat["answers"], strict=False)]
    judged = Answerer().judge_many([(keyword, "things", question) for question, _ in asked])
    known = [one.yes is (answer == "yes") for one, (_, answer) in zip(judged, asked, strict=True)
             if one.source != "default"]  # fmt: skip
    names = ("csqa2_train", "strategyqa_train", "allenai_twentyquestions_sample")
    meant = [
        json.loads(line)["question"] for name in names for line in (folder / f"{name}.jsonl").open(encoding="utf-8")
    ]
    return {
        "rule_coverage_real_game": len(known) / len(asked),
        "rule_accuracy_real_game": float(np.mean(known)),
        "rule_false_alarms": float(sum(parse_question(text) is not None for text in meant)),
        "rule_false_alarms_of": float(len(meant)),
    }


def labelled_rows(folder: Path, *, zoo: int | None = None) -> list[Row]:
    """Questions about things with the answers of people (always or usually: yes; rarely or never: no)."""
    lines = (folder / "allenai_twentyquestions_sample.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [
        ("people", row["subject"], row["question"], _ANSWERS[row["answer"]])
        for row in map(json.loads, lines)
        if row["answer"] in _ANSWERS and not row["is_bad"]
    ]
    with (folder / "zoo.csv").open(encoding="utf-8") as file:
        animals = [
            ("zoo", row["animal"], text, row[name] == "1")
            for row in csv.DictReader(file)
            for name, text in _ZOO.items()
        ]
    return rows + (animals if zoo is None else random.Random(0).sample(animals, zoo))


def table_figures(folder: Path) -> dict[str, float]:
    """Coverage and accuracy of the shipped table on labelled questions, each source for itself."""
    from kaggle_utils.q20.knowledge.table_file import SHIPPED, load_table

    if not SHIPPED.is_file():
        return {}
    answerer, found = Answerer(load_table()), {}
    assert answerer.table is not None
    rows = labelled_rows(folder)
    judged = answerer.judge_many([(thing, "things", question) for _, thing, question, _ in rows])
    for source in ("people", "zoo"):
        own = [(one, row[3]) for one, row in zip(judged, rows, strict=True) if row[0] == source]
        known = [(one.probability, yes) for one, yes in own if one.source == "table"]
        asked = [answerer.table.question_of(row[2]) is not None for row in rows if row[0] == source]
        found[f"table_knows_question_{source}"] = float(np.mean(asked))
        found[f"table_coverage_{source}"] = len(known) / len(own)
        if known:
            p, yes = np.array(known, dtype=np.float64).T
            found[f"table_accuracy_{source}"] = float(((p >= 0.5) == (yes == 1)).mean())
            found[f"table_calibration_error_{source}"] = expected_calibration_error(p, yes)
    return found


def model_figures(folder: Path, *, zoo: int = 150) -> dict[str, float]:
    """The small model's accuracy, log loss, calibration error: raw, and after Platt scaling fitted on other things."""
    from _q20_compiling import small_generator

    from kaggle_utils.inference.prefix_yes_no import PrefixYesNo

    rows, scorer = labelled_rows(folder, zoo=zoo), PrefixYesNo(small_generator())
    prompt = PROMPTS["named"]
    raw = np.array(scorer.yes_no([prompt.conversation(thing, "things", text) for _, thing, text, _ in rows]))
    yes = np.array([row[3] for row in rows], dtype=np.float64)
    things = sorted({row[1] for row in rows})
    half = np.array([things.index(row[1]) % 2 for row in rows])
    families = np.array([row[0] for row in rows])
    tuned = np.empty_like(raw)
    for side in (0, 1):
        fitted, own = half != side, half == side
        curve = fit_calibration(raw[fitted], yes[fitted], list(families[fitted]), method="platt", min_pairs=40)
        tuned[own] = curve.apply(raw[own], list(families[own]))
    base = np.array([yes[families == family].mean() for family in families])
    found = {"model_rows": float(len(rows)), "model_log_loss_of_base_rates": _log_loss(base, yes)}
    for name, p in (("raw", raw), ("calibrated", tuned)):
        found[f"model_{name}_accuracy"] = float(((p >= 0.5) == (yes == 1)).mean())
        found[f"model_{name}_log_loss"] = _log_loss(p, yes)
        found[f"model_{name}_calibration_error"] = expected_calibration_error(p, yes)
    return found


def _log_loss(p: np.ndarray, yes: np.ndarray) -> float:
    clipped = np.clip(p, 1e-6, 1 - 1e-6)
    return float(-np.mean(yes * np.log(clipped) + (1 - yes) * np.log(1 - clipped)))
