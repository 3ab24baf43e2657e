"""What an actor is given to do with blocks, whoever computes: the seam between runs over many machines and adapters.

It promises that a row that goes wrong takes no other along, and that what is wrong with everything (a device that is
lost, a model that fails always) is an error and not a column full of problems. It knows no scorers and no Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from kaggle_utils._optional import require
from kaggle_utils.inference.deadline import Deadline
from kaggle_utils.inference.failures import is_device_lost

__all__ = ["BlockTask", "Computed", "Engine", "Place", "each_alone", "list_column"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Place:
    """What an actor computes with."""

    devices: tuple[str, ...] = ("cpu",)
    """As the engine takes them; a GPU that Ray has given to an actor is ``cuda:0`` there."""
    workers: str = "processes"
    """One of :data:`~kaggle_utils.inference.workers.WORKER_KINDS`."""
    threads: int | None = None
    """Of torch on a CPU; None leaves that alone."""


@dataclass(frozen=True)
class Computed:
    """The new columns of a block."""

    columns: Mapping[str, Any]
    """Name -> ``pyarrow.Array`` of the block's length."""
    problems: Sequence[str | None]
    """For each row why it has no result, or None."""
    notes: Sequence[str] = field(default_factory=tuple)
    """What happened besides: memory that ran out, workers that died."""


class Engine(Protocol):
    """What an actor has built and keeps between blocks."""

    def prepare(self, table: Any) -> Any:
        """Turn a block's ``pyarrow.Table`` into what ``compute`` takes; runs while another block is computed."""
        ...

    def compute(self, prepared: Any, deadline: Deadline) -> Computed | None:
        """Compute a block; None where the deadline left some of it."""
        ...

    def close(self) -> None:
        """Give memory and processes back."""
        ...


class BlockTask(Protocol):
    """How an actor builds what it needs; it travels to the actors, so it is small and can be pickled."""

    columns: tuple[str, ...]
    """Columns of the input that it reads."""

    def about(self) -> dict[str, Any]:
        """Return what decides a row's result, in plain values for the manifest."""
        ...

    def problems(self, workers: str) -> list[str]:
        """Return what is wrong with it for workers of a kind, before anything is started."""
        ...

    def settled(self, sample: Callable[[], Any]) -> BlockTask:
        """Return it with nothing left open; ``sample`` reads the first block's ``pyarrow.Table``."""
        ...

    def build(self, place: Place) -> Engine:
        """Load models; raises where that cannot work."""
        ...


def each_alone(
    function: Callable[[Sequence[_Item]], Sequence[_Result]], items: Sequence[_Item]
) -> tuple[list[_Result | None], dict[int, str]]:
    """Call ``function`` on all items; where it raises, on halves, down to the items that are to blame.

    Returns:
        Its results in order, None where there is none, and the reason by item number.

    Raises:
        Exception: what ``function`` raised where it could do none of several items, or where a device is lost.

    >>> each_alone(lambda words: [float(word) for word in words], ["1", "two", "3"])
    ([1.0, None, 3.0], {1: "ValueError: could not convert string to float: 'two'"})
    """
    results: list[_Result | None] = [None] * len(items)
    problems: dict[int, str] = {}
    waiting = [range(len(items))] if items else []
    while waiting:
        part = waiting.pop()
        try:
            found = function([items[i] for i in part])
        except Exception as error:
            if is_device_lost(error):
                raise
            failure = error
        else:
            for i, result in zip(part, found, strict=True):
                results[i] = result
            continue
        if len(part) > 1:
            middle = part.start + len(part) // 2
            waiting += [range(middle, part.stop), range(part.start, middle)]
        else:
            problems[part.start] = f"{type(failure).__name__}: {failure}"
        if len(problems) == len(items) > 1:
            raise failure
    return results, problems


def list_column(values: Any) -> Any:
    """Return a [N, C] array as a column of lists of C numbers."""
    arrow = require("pyarrow", extra="cluster")
    flat = arrow.array(values.reshape(-1))
    return arrow.FixedSizeListArray.from_arrays(flat, values.shape[1])
