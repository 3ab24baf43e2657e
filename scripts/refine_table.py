"""Refine a knowledge table with language models: their P(yes) for the cells that matter first, added to the table's.

Usage:  python scripts/refine_table.py --model FOLDER [--model FOLDER ...] --budget N [--output FILE]

Each folder holds a Hugging Face model. Answers go into a journal, so a run that was stopped goes on where it was, and
another budget or another model adds to what is there. With ``--labels`` every model is first calibrated on labelled
cells, a curve for each family of questions that has enough of them. With ``--cluster`` each worker of a Ray cluster
loads the model, from the same folder on every machine, and this process keeps the journal.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the package itself need not be installed

from kaggle_utils.q20.knowledge.compiler import CellSource, ask_pairs, compile_cells  # noqa: E402
from kaggle_utils.q20.knowledge.refining import refined_table  # noqa: E402

__all__ = ["LABELS", "ask", "labelled_cells", "main"]

LABELS = ROOT / "scripts" / "table_data" / "labelled_cells.csv"


def labelled_cells(path: Path) -> list[tuple[str, str, bool]]:
    """Word, question and answer of each row of a CSV file with the columns word, question and answer (yes or no).

    Raises:
        ValueError: another column is missing or an answer is neither yes nor no.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    wrong = [number for number, row in enumerate(rows, 2) if row.get("answer") not in ("yes", "no")]
    if wrong or not rows or not {"word", "question"} <= rows[0].keys():
        raise ValueError(f"{path}: expected the columns word, question, answer (yes or no); wrong lines {wrong[:5]}")
    return [(row["word"], row["question"], row["answer"] == "yes") for row in rows]


def ask(table, name: str, generator, journal, *, budget: int | None = None, prompts: Sequence[str] = ("named",),
        labels: Sequence[tuple[str, str, bool]] = (), workers=None) -> list[CellSource]:  # fmt: skip
    """Ask one model about ``budget`` cells (None: all) with each prompt; return its sources, without the model.

    What it says goes into ``journal``. ``labels`` are (word, question, answer); without them nothing is calibrated.
    ``workers`` (``cluster_yes_no``) are asked in place of a generator.
    """
    from kaggle_utils.q20.answerer.prompts import PROMPTS

    sources = []
    for prompt in prompts:
        source = CellSource(name, generator, PROMPTS[prompt])
        report = compile_cells(table, source, journal, budget=budget, ask=workers)
        print(f"{source.key}: {report.asked:,} asked, {report.known:,} known, {report.left:,} left, "
              f"{report.cells_per_second:.1f} cells/s")  # fmt: skip
        curve = _curve(table, source, journal, labels, workers).apply if labels else None
        sources.append(dataclasses.replace(source, generator=None, calibrate=curve))
    return sources


def _curve(table, source, journal, labels: Sequence[tuple[str, str, bool]], workers):
    """A curve for what a model says, fitted on labelled cells."""
    from kaggle_utils.q20.knowledge.calibration import fit_calibration

    pairs, answers, families = [], [], []
    for word, question, answer in labels:
        thing, number = table.objects.index_of(word), table.bank.index_of(question)
        if thing is not None and number is not None:
            pairs.append((table.objects.words[thing], table.objects.categories[thing], table.bank.texts[number]))
            answers.append(float(answer))
            families.append(table.bank.families[number])
    if not pairs:
        raise ValueError(f"none of the {len(labels)} labelled cells is in the table; give --labels for this table")
    return fit_calibration(ask_pairs(source, journal, pairs, ask=workers), answers, families, method="platt")


def main(arguments: Sequence[str] | None = None) -> None:
    """Load the models, ask, calibrate, save, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, action="append", required=True, help="folder of a model; may come again")
    parser.add_argument("--budget", type=int, help="cells to ask of each model with each prompt (default: all)")
    parser.add_argument("--prompt", action="append", help="names of prompts, one or more of: named, it")
    parser.add_argument("--table", type=Path, help="table to refine (default: the shipped one)")
    parser.add_argument("--output", type=Path, default=Path("refined.q20"))
    parser.add_argument("--journal", type=Path, default=Path("refine.db"), help="file that keeps every answer")
    parser.add_argument("--labels", type=Path, help=f"CSV of labelled cells, for example {LABELS.relative_to(ROOT)}")
    parser.add_argument("--device", default="auto", help="device map of the models: auto, cpu, cuda:0")
    parser.add_argument("--dtype", default="auto", help="auto, float32, bfloat16, float16")
    parser.add_argument("--cluster", help="ask on a Ray cluster: local, auto, host:6379 or ray://host:10001")
    parser.add_argument("--worker-gpus", type=float, default=1, help="GPUs of each worker of it (default 1; 0: CPU)")
    parser.add_argument("--worker-cpus", type=float, default=1, help="cores of each worker of it (default 1)")
    options = parser.parse_args(arguments)
    missing = [str(folder) for folder in options.model if not (folder / "config.json").is_file()]
    if missing:
        parser.error(f"no model (config.json) in {', '.join(missing)}")
    labels = labelled_cells(options.labels) if options.labels else ()

    from kaggle_utils.cluster import connected
    from kaggle_utils.inference.prefix_yes_no import PrefixYesNo
    from kaggle_utils.q20.knowledge.cell_journal import CellJournal
    from kaggle_utils.q20.knowledge.compile_on_cluster import cluster_yes_no
    from kaggle_utils.q20.knowledge.table_file import load_table, save_table

    table = load_table(options.table)
    size = {"cluster": options.cluster, "num_cpus": options.worker_cpus, "num_gpus": options.worker_gpus}
    sources = []
    with CellJournal(options.journal) as journal, connected(options.cluster) if options.cluster else nullcontext():
        for folder in options.model:  # one model in memory at a time; the journal brings them together at the end
            make = partial(PrefixYesNo.from_folder, folder.resolve(), device_map=options.device, dtype=options.dtype)
            model, workers = (None, cluster_yes_no(make, **size)) if options.cluster else (make(), None)
            sources += ask(table, folder.resolve().name, model, journal, budget=options.budget,
                           prompts=options.prompt or ["named"], labels=labels, workers=workers)  # fmt: skip
            del model
        refined = refined_table(table, sources, journal)
    print(f"{refined}\n{save_table(refined, options.output, compress=True)}")


if __name__ == "__main__":
    main()
