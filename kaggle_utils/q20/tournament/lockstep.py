"""Many small jobs that call one language model, in step: what they ask at the same time goes to it as one batch.

Each job runs in a thread of its own, but only one thread at a time, in order, until it ends or calls the model; when
all wait, the model is called once for all of them. So nothing races, the batches are the same on every run, and code
that was written for a single game plays hundreds at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from kaggle_utils.chat.generator import GenerationSettings, TextGenerator
from kaggle_utils.chat.messages import Conversation

__all__ = ["LockstepGenerator", "run_in_step"]

_T = TypeVar("_T")
_here = threading.local()


class LockstepGenerator:
    """A TextGenerator whose callers inside ``run_in_step`` are served together; for others it changes nothing."""

    def __init__(self, inner: TextGenerator) -> None:
        """Take the model."""
        self.inner = inner

    def generate(self, conversations: Sequence[Conversation], settings: GenerationSettings | None = None) -> list[str]:
        """Return one reply per conversation; calls with equal settings share a batch."""
        return self._call(("generate", settings), conversations)

    def yes_no(self, conversations: Sequence[Conversation]) -> list[float]:
        """Return P(yes) per conversation."""
        return self._call(("yes_no", None), conversations)

    def _call(self, kind: tuple[str, Any], conversations: Sequence[Conversation]) -> list[Any]:
        job = getattr(_here, "job", None)
        if job is None:
            return _ask(self.inner, kind, conversations)
        return job.wait_for((self, kind, list(conversations)))


def run_in_step(jobs: Sequence[Callable[[], _T]]) -> list[_T | Exception]:
    """Run the jobs and return what each returned, or the exception that it raised, in order.

    Costs one thread per job while they run; up to some hundreds at once is fine.
    """
    running = [_Job(job) for job in jobs]
    waiting = running
    while waiting:
        for job in waiting:
            job.run_on()
        waiting = [job for job in running if job.request is not None]
        _serve(waiting)
    return [job.outcome for job in running]


class _Job:
    """One thread and the model call that it waits for."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.request: tuple[LockstepGenerator, tuple[str, Any], list[Conversation]] | None = None
        self.reply: Any = None
        self.outcome: Any = None
        self._mine, self._theirs = threading.Semaphore(0), threading.Semaphore(0)
        self._function = function
        self._thread: threading.Thread | None = None

    def run_on(self) -> None:
        """Let the job run until it ends or waits for the model."""
        self.request = None
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        else:
            self._mine.release()
        self._theirs.acquire()

    def wait_for(self, request: Any) -> Any:
        """Called within the job: hand over and sleep until the model has replied."""
        self.request = request
        self._theirs.release()
        self._mine.acquire()
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply

    def _work(self) -> None:
        _here.job = self
        try:
            self.outcome = self._function()
        except Exception as error:  # an outcome like any other: the caller decides
            self.outcome = error
        finally:
            self._theirs.release()


def _serve(jobs: Sequence[_Job]) -> None:
    """Call each model once for all requests of one kind and deal the replies out."""
    groups: dict[Any, list[_Job]] = {}
    for job in jobs:
        generator, kind, _ = job.request  # type: ignore[misc]
        groups.setdefault((id(generator), kind), []).append(job)
    for (_, kind), members in groups.items():
        conversations = [conversation for job in members for conversation in job.request[2]]  # type: ignore[index]
        try:
            replies: Any = _ask(members[0].request[0].inner, kind, conversations)  # type: ignore[index]
        except Exception as error:  # each job sees it as if it had called the model itself
            for job in members:
                job.reply = error
            continue
        start = 0
        for job in members:
            end = start + len(job.request[2])  # type: ignore[index]
            job.reply, start = replies[start:end], end


def _ask(inner: TextGenerator, kind: tuple[str, Any], conversations: Sequence[Conversation]) -> list[Any]:
    name, settings = kind
    return inner.yes_no(conversations) if name == "yes_no" else inner.generate(conversations, settings)
