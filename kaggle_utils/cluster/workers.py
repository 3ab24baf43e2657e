"""Items for workers that each made something once, such as a loaded model: Ray's actors, dealt to as they get free.

As in ``tasks`` each item is yielded once, a bounded number is on the way, and what a lost worker had is given to
another. A worker that is not there yet gets nothing, so machines that join late or stay busy hold nobody up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from types import ModuleType
from typing import Any

from kaggle_utils._optional import require
from kaggle_utils.cluster.connection import connected
from kaggle_utils.cluster.tasks import ClusterTaskError, Recount, check_task, task_slots

__all__ = ["run_on_workers"]


def run_on_workers(
    make: Callable[[], Any],
    function: Callable[[Any, Any], Any],
    items: Iterable[Any],
    *,
    cluster: str | None = "local",
    num_cpus: float = 1.0,
    num_gpus: float = 0.0,
    in_flight: int = 2,
    retries: int = 3,
    desc: str | None = None,
) -> Generator[tuple[int, Any], None, None]:
    """Call ``function(make(), item)`` once for each item; yield (item number, result) as they finish.

    Each worker is a process that calls ``make`` once and keeps what it returns. There are as many as the cluster has
    room for, more when it grows; they end with the last item.

    Args:
        make: importable on the workers, or a ``functools.partial`` of what is.
        function: likewise. It may run again for an item whose worker was lost.
        items: read only as fast as there is room: at most ``in_flight`` a worker, and one for each that starts.
        cluster: where, see ``connected``; a connection that is there already is used.
        num_cpus: cores that a worker occupies.
        num_gpus: GPUs that a worker occupies; it sees only these.
        in_flight: items that a worker has at a time; with two the next is there when one is done.
        retries: how often an item is given to another worker when its own dies at it, and how many workers may die
            while they start. An item that raises is not repeated.
        desc: shows a bar of this name.

    Raises:
        ClusterTaskError: some items failed; raised after all others were yielded.
        RuntimeError: ``make`` raised, or workers died while they ran it; what was yielded is done.
        ModuleNotFoundError, ConnectionError, ValueError: as ``run_tasks``.
    """
    check_task(num_cpus=num_cpus, num_gpus=num_gpus, retries=retries, in_flight=in_flight)
    require("ray", extra="cluster")
    size = {"num_cpus": num_cpus, "num_gpus": num_gpus}
    return _results(make, function, items, cluster, size, in_flight, retries, desc)


def _results(
    make: Callable[[], Any], function: Callable[[Any, Any], Any], items: Iterable[Any], cluster: str | None,
    size: dict[str, float], in_flight: int, retries: int, desc: str | None,
) -> Generator[tuple[int, Any], None, None]:  # fmt: skip
    from tqdm.auto import tqdm  # only here: importing this module costs nothing

    total = len(items) if hasattr(items, "__len__") else None
    with connected(cluster) as ray, tqdm(total=total, desc=desc, disable=desc is None, delay=2) as bar:
        waiting = _Waiting(items, retries)
        workers = _Workers(ray, make, function, size, retries, may_grow=cluster != "local")
        done = 0
        try:
            while True:
                workers.deal(waiting, in_flight)
                if not workers.busy and waiting.empty:
                    break
                for reference, actor, (number, item) in workers.finished():
                    try:
                        result = ray.get(reference)
                    except ray.exceptions.RayTaskError as error:  # the function has raised
                        workers.free(actor, number)
                        waiting.failures[number] = error
                    except ray.exceptions.RayError as error:  # its process, its machine, or the result on that
                        waiting.again(number, item, error if workers.lost(actor, number) else None)
                    else:
                        done += 1
                        workers.free(actor, number)
                        workers.deal(waiting, in_flight)  # or they would wait for whoever takes the results
                        yield number, result
                    bar.update(done + len(waiting.failures) - bar.n)
        finally:
            workers.end()
    if waiting.failures:
        raise ClusterTaskError(waiting.failures, done=done) from next(iter(waiting.failures.values()))


class _Waiting:
    """Items that nobody has: those not read yet, a few that were, and what lost workers had."""

    def __init__(self, items: Iterable[Any], retries: int) -> None:
        self.failures: dict[int, BaseException] = {}
        self._unread, self._read = enumerate(items), deque()
        self._retries, self._lost = retries, {}

    @property
    def empty(self) -> bool:
        return not self.ahead(1)

    def ahead(self, count: int) -> int:
        """How many there are, up to ``count``: as many are read."""
        for _, pair in zip(range(count - len(self._read)), self._unread, strict=False):
            self._read.append(pair)
        return min(count, len(self._read))

    def next(self) -> tuple[int, Any]:
        return self._read.popleft()

    def again(self, number: int, item: Any, error: BaseException | None) -> None:
        """Take back what a lost worker had; ``error`` if it was at this item, which may be what killed it."""
        self._lost[number] = self._lost.get(number, 0) + (error is not None)
        if error is not None and self._lost[number] > self._retries:
            self.failures[number] = error
        else:
            self._read.appendleft((number, item))


class _Workers:
    """The actors: those that start, and those that are there with what they were given."""

    def __init__(
        self, ray: ModuleType, make: Callable[[], Any], function: Callable[[Any, Any], Any], size: dict[str, float],
        retries: int, *, may_grow: bool,
    ) -> None:  # fmt: skip
        self.busy: dict[Any, tuple[Any, tuple[int, Any]]] = {}
        self._ray, self._arguments, self._deaths_left = ray, (make, function), retries
        self._actor = ray.remote(max_restarts=0, max_task_retries=0, **size)(_Holder)
        self._slots = Recount(lambda: task_slots(ray, **size), must_be_some=not may_grow, wanted=str(size))
        self._starting: dict[Any, Any] = {}
        self._load: dict[Any, list[int]] = {}  # item numbers in the order in which a worker takes them
        self._died_at: dict[Any, int] = {}

    def deal(self, waiting: _Waiting, in_flight: int) -> None:
        """Give items to those that have the fewest, and start workers while there are items and room."""
        for level in range(in_flight):
            for actor in [actor for actor, numbers in self._load.items() if len(numbers) <= level]:
                if waiting.ahead(1):
                    number, item = waiting.next()
                    self.busy[actor.call.remote(item)] = actor, (number, item)
                    self._load[actor].append(number)
        room = max(1, self._slots()) - len(self._load) - len(self._starting)
        for _ in range(min(room, waiting.ahead(max(0, room + len(self._starting))) - len(self._starting))):
            actor = self._actor.remote(*self._arguments)
            self._starting[actor.ready.remote()] = actor

    def finished(self) -> list[tuple[Any, Any, tuple[int, Any]]]:
        """Wait for one or for a while; return (reference, worker, item), and let workers in that are there now."""
        references = [*self.busy, *self._starting]
        ready, _ = self._ray.wait(references, num_returns=1, timeout=Recount.SECONDS)
        ready = self._ray.wait(references, num_returns=len(references), timeout=0)[0] if ready else []
        done = []
        for reference in ready:
            if reference in self._starting:
                self._admit(reference)
                continue
            done.append((reference, *self.busy.pop(reference)))
        return done

    def free(self, actor: Any, number: int) -> None:
        """Note that a worker is done with an item."""
        if actor in self._load:
            self._load[actor].remove(number)

    def lost(self, actor: Any, number: int) -> bool:
        """Forget a worker that died, since another may take its place; return whether it died at this item."""
        if actor in self._load:
            self._died_at[actor] = self._load.pop(actor)[0]
            self._ray.kill(actor)  # if it lives, it is out of reach
        return self._died_at[actor] == number

    def _admit(self, reference: Any) -> None:
        actor = self._starting.pop(reference)
        try:
            self._ray.get(reference)
        except self._ray.exceptions.RayActorError as error:
            self._deaths_left -= 1
            if error.actor_init_failed or self._deaths_left < 0:
                raise RuntimeError(f"a worker could not start: {error}") from error
        else:
            self._load[actor] = []

    def end(self) -> None:
        """Free what they occupy, at once."""
        for actor in [*self._load, *self._starting.values()]:
            self._ray.kill(actor)


class _Holder:
    """What runs on the cluster: one thing, and what is done with it."""

    def __init__(self, make: Callable[[], Any], function: Callable[[Any, Any], Any]) -> None:
        self._made, self._function = make(), function

    def ready(self) -> None:
        """Return when ``make`` has."""

    def call(self, item: Any) -> Any:
        return self._function(self._made, item)
