"""The calls: what is to be done with the rows of parquet files, as one machine would do it.

They promise nothing of their own: a run is ``run``'s, an adapter says what a block becomes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kaggle_utils.chat.generator import GenerationSettings
from kaggle_utils.inference.answer_rules import AnswerRules
from kaggle_utils.inference.cluster.pairs import PairTask
from kaggle_utils.inference.cluster.result import DatasetResult
from kaggle_utils.inference.cluster.rows import RowTask
from kaggle_utils.inference.cluster.run import run_dataset
from kaggle_utils.inference.cluster.texts import GeneratorSpec, TextTask
from kaggle_utils.inference.scoring import Judge
from kaggle_utils.inference.specs import ScorerSpec

__all__ = ["as_array", "generate_dataset", "score_dataset", "yes_no_dataset"]


def score_dataset(
    input: str | os.PathLike[str],
    output: str | os.PathLike[str],
    scorer: ScorerSpec | Judge | Sequence[Judge],
    *,
    rows: str | Callable[[dict[str, list]], Sequence[Any]] = "input_ids",
    reads: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    text: str = "auto",
    swap: str = "none",
    rules: AnswerRules | None = None,
    prior: Sequence[float] | None = None,
    **options: Any,
) -> DatasetResult:
    """Score the rows of parquet files; the same settings and the same values as on one machine.

    A judge (or several, mixed by their weights) reads pairs and gives the column ``probabilities``, as
    :func:`~kaggle_utils.inference.scoring.score_pairs` does. A bare scorer reads token rows and gives ``logits``, as
    :func:`~kaggle_utils.inference.engine.score_rows` does. A scorer that chooses its arithmetic by measuring
    (``compile="auto"``) chooses in each actor; name the choice where all rows must meet the same.

    Args:
        input: see :func:`~kaggle_utils.inference.cluster.run.run_dataset`, and so for ``output``.
        output: the folder of the parts.
        scorer: a ``ScorerSpec``, a ``Judge`` or several; its fingerprint is part of what describes the run.
        rows: for a ``ScorerSpec``: the column of token ids, or an importable function from columns (name -> cells) to
            token rows.
        reads: the columns that such a function takes.
        columns: for judges: other names of prompt, response_a and response_b.
        text: for judges: "json", "plain", or "auto": what the first block looks like decides for all.
        swap: for judges: "none" or "all".
        rules: for judges: answers for empty and identical responses.
        prior: for judges: class probabilities of rows that cannot be read; None leaves them nan.
        options: of :func:`~kaggle_utils.inference.cluster.run.run_dataset`: ``cluster``, ``actors``, ``num_gpus``,
            ``block_rows``, ``keep``, ``deadline`` and so on.

    Raises:
        Exception: what ``run_dataset`` raises.
    """
    if isinstance(scorer, ScorerSpec):
        given = {"columns": columns, "rules": rules, "prior": prior}
        odd = [name for name, value in given.items() if value is not None] + ["swap"] * (swap != "none")
        if odd:
            raise ValueError(f"{', '.join(odd)} is for judges, which read pairs; a ScorerSpec reads token rows")
        return run_dataset(input, output, RowTask(scorer, rows, tuple(reads)), **options)
    judges = (scorer,) if isinstance(scorer, Judge) else tuple(scorer)
    chances = None if prior is None else tuple(float(p) for p in prior)
    task = PairTask(judges, swap=swap, rules=rules, prior=chances, names=dict(columns or {}), text=text)
    return run_dataset(input, output, task, **options)


def generate_dataset(
    input: str | os.PathLike[str],
    output: str | os.PathLike[str],
    generator: GeneratorSpec,
    *,
    prompt: str = "prompt",
    settings: GenerationSettings | None = None,
    **options: Any,
) -> DatasetResult:
    """Answer the prompts of parquet files: the column ``text``.

    With sampling and a seed, a block gives the same replies whenever and wherever it is computed on one kind of device;
    all rows in one call of the generator give others.

    Args:
        input: see :func:`~kaggle_utils.inference.cluster.run.run_dataset`, and so for ``output``.
        output: the folder of the parts.
        generator: how an actor builds it, see :func:`~kaggle_utils.inference.cluster.texts.folder_generator`; a factory
            of your own will do as well.
        prompt: the column: a text, or a list of {role, content}.
        settings: how to generate; without a ``time_limit``.
        options: of ``run_dataset``.

    Raises:
        Exception: what ``run_dataset`` raises.
    """
    return run_dataset(input, output, TextTask(generator, prompt, settings or GenerationSettings()), **options)


def yes_no_dataset(
    input: str | os.PathLike[str],
    output: str | os.PathLike[str],
    generator: GeneratorSpec,
    *,
    prompt: str = "prompt",
    **options: Any,
) -> DatasetResult:
    """Give P(yes) for the prompts of parquet files: the column ``p_yes``; arguments as of :func:`generate_dataset`."""
    return run_dataset(input, output, TextTask(generator, prompt), **options)


def as_array(table: Any, name: str) -> np.ndarray:
    """Return a column of lists of one length (``probabilities``, ``logits``) of a ``pyarrow.Table`` as an array.

    Returns:
        [rows, C], of the column's type.
    """
    column = table.column(name).combine_chunks()
    width = column.type.list_size
    return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
