"""Scoring, generating and asking over many machines: parquet in, parquet out, the engine of one machine in every actor.

It promises exactly one output row for each input row, in order, with its id, whatever machines are lost or added
meanwhile; that a run which is started again computes only the blocks that are missing; and that rows without a result
are named. Everything runs on engines that exist: Ray Data hands blocks out, ``score_jobs`` computes them. Without a
cluster (``cluster=None``) the same files come from one process, and Ray is not needed.
"""

from .datasets import as_array, generate_dataset, score_dataset, yes_no_dataset
from .manifest import MixedRunsError
from .parts import iter_dataset, read_dataset
from .result import DatasetError, DatasetResult
from .texts import GeneratorSpec, folder_generator

__all__ = [
    "DatasetError",
    "DatasetResult",
    "GeneratorSpec",
    "MixedRunsError",
    "as_array",
    "folder_generator",
    "generate_dataset",
    "iter_dataset",
    "read_dataset",
    "score_dataset",
    "yes_no_dataset",
]
