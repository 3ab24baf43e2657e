"""Many copies of a language model fill one table: each worker of a cluster loads it once and answers whole batches.

``compile_cells`` stays what it is: it alone decides what to ask, and it alone writes the journal, so order, budget,
time limit and resuming are those of one machine. A batch whose worker died is asked again elsewhere and stored once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence

from kaggle_utils.chat.messages import Conversation
from kaggle_utils.cluster import run_on_workers
from kaggle_utils.q20.answerer.answerer import YesNo
from kaggle_utils.q20.knowledge.compiler import AskBatches

__all__ = ["cluster_yes_no"]


def cluster_yes_no(
    make_generator: Callable[[], YesNo],
    *,
    cluster: str | None = "local",
    num_cpus: float = 1.0,
    num_gpus: float = 0.0,
    in_flight: int = 2,
    retries: int = 3,
) -> AskBatches:
    """Return what ``compile_cells`` and ``ask_pairs`` take as ``ask``.

    Workers start with the first batch, one for each that the cluster has room for, and end with the last. Batches that
    are under way when the time limit is over are finished: at most ``in_flight`` a worker.

    Args:
        make_generator: called once on each worker; importable there, or a ``functools.partial`` of what is.
        cluster: where, see ``kaggle_utils.cluster.connected``; a connection that is there already is used.
        num_cpus, num_gpus: what a worker occupies; it sees only these GPUs.
        in_flight: batches that a worker has at a time.
        retries: how often a batch is asked again when its worker dies.
    """

    def ask(batches: Iterable[list[Conversation]]) -> Generator[tuple[int, Sequence[float]], None, None]:
        return run_on_workers(
            make_generator, _yes_no, batches, cluster=cluster, num_cpus=num_cpus, num_gpus=num_gpus,
            in_flight=in_flight, retries=retries,
        )  # fmt: skip

    return ask


def _yes_no(generator: YesNo, conversations: list[Conversation]) -> list[float]:
    return list(generator.yes_no(conversations))
