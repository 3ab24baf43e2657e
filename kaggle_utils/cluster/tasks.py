"""Independent tasks on a cluster: each item once, a bounded number on their way, lost ones repeated.

The module does not know what the tasks do, or how much work is worth one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

from kaggle_utils._optional import require
from kaggle_utils.cluster.connection import connected

__all__ = ["ClusterTaskError", "Recount", "check_task", "run_tasks", "task_slots"]

_logger = logging.getLogger(__name__)
_SHOWN = 5
_CANCELS = 10


class ClusterTaskError(RuntimeError):
    """Some items failed; the others are done and were yielded."""

    def __init__(self, failures: Mapping[int, BaseException], *, done: int) -> None:
        """Take the exceptions by item number, and how many items went well."""
        self.failures = dict(sorted(failures.items()))
        """Item number -> what its task raised, or Ray's error where its process died once more than ``retries``."""
        numbers = list(self.failures)
        lines = [f"  item {number}: {_told(self.failures[number])}" for number in numbers[:_SHOWN]]
        if len(numbers) > _SHOWN:
            lines.append(f"  and {len(numbers) - _SHOWN} more: items {str(numbers[_SHOWN : 10 * _SHOWN])[1:-1]}, ...")
        super().__init__(
            f"{len(numbers)} of {done + len(numbers)} tasks failed, the others are done (a task that raises is not "
            "repeated):\n" + "\n".join(lines)
        )


def run_tasks(
    function: Callable[..., Any],
    items: Iterable[Any],
    *,
    cluster: str | None = "local",
    num_cpus: float = 1.0,
    num_gpus: float = 0.0,
    in_flight: int | None = None,
    retries: int = 3,
    shared: Mapping[str, Any] | None = None,
    desc: str | None = None,
) -> Generator[tuple[int, Any], None, None]:
    """Call ``function(item, **shared)`` once for each item on a cluster; yield (item number, result) as they finish.

    Nothing starts before the first result is asked for. Leaving the loop early cancels what is not done. A task costs
    about a millisecond, so an item should be worth some tens of them.

    Args:
        function: importable on the workers, or a closure that Ray's cloudpickle can write. It may run again for an item
            whose process or machine was lost, so it must not mind.
        items: read only as fast as there is room for them.
        cluster: where, see ``connected``; a connection that is there already is used.
        num_cpus: cores that a task occupies.
        num_gpus: GPUs that a task occupies; it sees only these. With any, each item gets a process of its own, as Ray
            has it, so that the GPU's memory is free again; ``run_on_workers`` keeps what was loaded.
        in_flight: most items on their way: sent, and not yet yielded. By default two for each task that the cluster
            can run at once, counted again every few seconds.
        retries: how often an item is tried again when its process or machine dies. One that raises is not.
        shared: further arguments by name, sent to each machine once.
        desc: shows a bar of this name.

    Raises:
        ClusterTaskError: some items failed; raised after all others were yielded.
        ModuleNotFoundError, ConnectionError, ValueError: as ``connected``; or no machine of a cluster that was started
            here can hold such a task.
    """
    check_task(num_cpus=num_cpus, num_gpus=num_gpus, retries=retries, in_flight=in_flight)
    require("ray", extra="cluster")
    options = {"num_cpus": num_cpus, "num_gpus": num_gpus, "max_retries": retries, "retry_exceptions": False}
    return _results(function, items, cluster, options, in_flight, shared or {}, desc)


def task_slots(ray: ModuleType, *, num_cpus: float = 1.0, num_gpus: float = 0.0) -> int:
    """Return how many tasks (or actors) of a size the cluster's living machines can run at once, if nothing else does.

    Args:
        ray: the connected module.
        num_cpus, num_gpus: of one task; at least one of them above 0.
    """
    wanted = [(name, size) for name, size in (("CPU", num_cpus), ("GPU", num_gpus)) if size > 0]
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(int(min(node.get(name, 0) / size + 1e-9 for name, size in wanted)) for node in nodes)


def check_task(*, num_cpus: float, num_gpus: float, retries: int, in_flight: int | None) -> None:
    """Raise ValueError with all that is wrong with a task's size and limits."""
    numbers = {"num_cpus": num_cpus, "num_gpus": num_gpus, "retries": retries}
    problems = [f"{name} is {value}, expected 0 or more" for name, value in numbers.items() if value < 0]
    if not problems and num_cpus + num_gpus <= 0:
        problems.append("num_cpus and num_gpus are both 0: any number of tasks would run at once")
    if in_flight is not None and in_flight < 1:
        problems.append(f"in_flight is {in_flight}, expected 1 or more")
    if problems:
        raise ValueError("these tasks cannot be run: " + "; ".join(problems))


class Recount:
    """A number that changes slowly: counted when it is asked for, at most every ``SECONDS``."""

    SECONDS = 5.0

    def __init__(self, count: Callable[[], int], *, must_be_some: bool, wanted: str) -> None:
        """Take what counts slots; ValueError if there ``must_be_some`` for a task as ``wanted`` and are none."""
        self._count, self._counted = count, time.monotonic()
        self._value = count()
        if not self._value:
            problem = f"no machine of this cluster has room for a task of {wanted}"
            if must_be_some:
                raise ValueError(f"{problem}; ask for less, or join another")
            _logger.warning("%s; waiting for one that has to join", problem)

    def __call__(self) -> int:
        """Return it."""
        if time.monotonic() - self._counted > self.SECONDS:
            self._value, self._counted = self._count(), time.monotonic()
        return self._value


def _results(
    function: Callable[..., Any], items: Iterable[Any], cluster: str | None, options: dict[str, Any],
    in_flight: int | None, shared: Mapping[str, Any], desc: str | None,
) -> Generator[tuple[int, Any], None, None]:  # fmt: skip
    from tqdm.auto import tqdm  # only here: importing this module costs nothing

    total = len(items) if hasattr(items, "__len__") else None
    with connected(cluster) as ray, tqdm(total=total, desc=desc, disable=desc is None, delay=2) as bar:
        name = getattr(function, "__name__", type(function).__name__)
        task = ray.remote(**options)(lambda item, **rest: function(item, **rest)).options(name=name)
        size = {name: options[name] for name in ("num_cpus", "num_gpus")}
        slots = Recount(lambda: task_slots(ray, **size), must_be_some=cluster == "local", wanted=str(size))
        sent = {name: ray.put(value) for name, value in shared.items()}
        waiting, pending = enumerate(items), {}
        failures: dict[int, BaseException] = {}
        done = 0

        def send() -> None:  # at least some: a cluster may grow when tasks wait
            room = in_flight or max(2, 2 * slots())
            for number, item in _up_to(waiting, room - len(pending)):
                pending[task.remote(item, **sent)] = number

        try:
            send()
            while pending:
                for reference in _finished(ray, pending):
                    number = pending.pop(reference)
                    send()  # before the result is handed over, which may take its time
                    try:
                        result = ray.get(reference)
                    except ray.exceptions.RayError as error:
                        failures[number] = error
                    else:
                        done += 1
                        yield number, result
                    bar.update()
        finally:
            _cancel(ray, list(pending))
    if failures:
        raise ClusterTaskError(failures, done=done) from next(iter(failures.values()))


def _finished(ray: ModuleType, pending: Mapping[Any, int]) -> list[Any]:
    """Wait for one, or for a while; return all that are done, since asking for each would cost the square of them."""
    ready, _ = ray.wait(list(pending), num_returns=1, timeout=Recount.SECONDS)
    return ray.wait(list(pending), num_returns=len(pending), timeout=0)[0] if ready else []


def _cancel(ray: ModuleType, references: list[Any]) -> None:
    """End tasks that are waiting or running; one that is just being handed to its worker may miss the first call."""
    for _ in range(_CANCELS if references else 0):
        for reference in references:
            ray.cancel(reference, force=True)
        references = ray.wait(references, num_returns=len(references), timeout=1.0)[1]
        if not references:
            return


def _up_to(items: Iterator[Any], count: int) -> Iterator[Any]:
    """The next ``count`` items, as far as there are any; what is not taken stays."""
    for _, item in zip(range(count), items, strict=False):
        yield item


def _told(error: BaseException) -> str:
    """One line: what the task raised, or how its process died."""
    cause = getattr(error, "cause", None) or error
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[0] if lines else ''}"[:300]
