"""Generators as work for actors: blocks of prompts to replies, or to probabilities of yes.

It promises the replies of the generator for the same conversations, whole blocks at a time, so that a block computed
again gives what it gave before. Prompts that are none, and rows that the generator cannot do, are named with their
reason. It knows the protocol of generators and none of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kaggle_utils._optional import require
from kaggle_utils.chat.generator import GenerationSettings
from kaggle_utils.chat.messages import Conversation, as_conversation
from kaggle_utils.inference.cluster.tasks import Computed, Place, each_alone
from kaggle_utils.inference.deadline import Deadline

__all__ = ["GeneratorSpec", "TextTask", "folder_generator", "hf_generator"]

_CHUNK = 256  # between two looks at the deadline


@dataclass(frozen=True)
class GeneratorSpec:
    """How an actor builds a :class:`~kaggle_utils.chat.generator.TextGenerator`."""

    name: str
    """In the manifest and in errors."""
    factory: Callable[..., Any]
    """Called in the actor as ``factory(device=device, **kwargs)``; importable there, or a function of the script."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Passed to ``factory``."""
    fingerprint: str = ""
    """See :func:`~kaggle_utils.inference.fingerprint.run_fingerprint`."""


@dataclass(frozen=True)
class TextTask:
    """Prompts to the column ``text``, or ``p_yes`` where there are no settings."""

    generator: GeneratorSpec
    """Who answers."""
    prompt: str = "prompt"
    """The column: a text (one user turn), or a list of {role, content}."""
    settings: GenerationSettings | None = None
    """How to generate; None asks for yes or no."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What it reads."""
        return (self.prompt,)

    def about(self) -> dict[str, Any]:
        """See :class:`~kaggle_utils.inference.cluster.tasks.BlockTask`, and so for the other methods."""
        named = {"name": self.generator.name, "fingerprint": self.generator.fingerprint}
        about: dict[str, Any] = {"what": "p_yes", "generator": named, "prompt": self.prompt}
        if self.settings is not None:
            plain = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self.settings).items()}
            about |= {"what": "text", "settings": plain}
        return about

    def problems(self, workers: str) -> list[str]:
        """All at once."""
        found = []
        if not callable(self.generator.factory):
            found.append(f"factory is {self.generator.factory!r}, expected a callable")
        if not self.generator.fingerprint:
            found.append(f"generator {self.generator.name!r} has no fingerprint, so a folder could mix two runs")
        if self.settings is not None and self.settings.time_limit is not None:
            found.append(
                f"settings.time_limit is {self.settings.time_limit}: what it cuts off would be stored as if it were "
                "whole; use deadline=, which leaves whole blocks for a later call"
            )
        return found

    def settled(self, sample: Callable[[], Any]) -> TextTask:
        """Nothing is open."""
        return self

    def build(self, place: Place) -> _TextEngine:
        """Load the generator."""
        return _TextEngine(self, place)


class _TextEngine:
    def __init__(self, task: TextTask, place: Place) -> None:
        self._task = task
        self._generator = task.generator.factory(device=",".join(place.devices), **task.generator.kwargs)

    def prepare(self, table: Any) -> tuple[list[Conversation | None], dict[int, str]]:
        """Conversations, None where the cell holds none, and why."""
        cells = table.column(self._task.prompt).to_pylist()
        conversations: list[Conversation | None] = [None] * len(cells)
        problems: dict[int, str] = {}
        for i, cell in enumerate(cells):
            try:
                conversations[i] = as_conversation(cell)
            except (TypeError, ValueError) as error:  # noqa: PERF203 - every bad prompt is named
                problems[i] = str(error)
        return conversations, problems

    def compute(
        self, prepared: tuple[list[Conversation | None], dict[int, str]], deadline: Deadline
    ) -> Computed | None:  # fmt: skip
        """Replies or probabilities."""
        arrow = require("pyarrow", extra="cluster")
        conversations, problems = prepared
        known = [i for i, turns in enumerate(conversations) if turns is not None]
        values: list[Any] = [None] * len(conversations)
        for start in range(0, len(known), _CHUNK):
            if deadline.left() <= 0:
                return None
            places = known[start : start + _CHUNK]
            found, wrong = each_alone(self._ask, [conversations[i] for i in places])
            for i, value in zip(places, found, strict=True):
                values[i] = value
            problems = problems | {places[i]: reason for i, reason in wrong.items()}
        kind = arrow.string() if self._task.settings is not None else arrow.float64()
        name = "text" if self._task.settings is not None else "p_yes"
        return Computed({name: arrow.array(values, kind)}, [problems.get(i) for i in range(len(values))])

    def close(self) -> None:
        """Let go of the generator."""
        self._generator = None

    def _ask(self, conversations: Sequence[Any]) -> list[Any]:
        if self._task.settings is None:
            return self._generator.yes_no(conversations)
        return self._generator.generate(conversations, self._task.settings)


def folder_generator(name: str, folder: str, **options: Any) -> GeneratorSpec:
    """Return the specification of an ``HFGenerator`` for a model folder that every machine has at that place.

    Args:
        name: in the manifest.
        folder: the model.
        options: of :meth:`~kaggle_utils.inference.generation.HFGenerator.from_folder`, plain values; ``dtype`` is best
            named, since "auto" depends on the machine.
    """
    from kaggle_utils.inference.fingerprint import run_fingerprint

    decides = {key: value for key, value in options.items() if key != "batch_size"}
    fingerprint = run_fingerprint(folder, generator="HFGenerator", **decides)
    return GeneratorSpec(name, hf_generator, {"folder": str(folder), **options}, fingerprint)


def hf_generator(*, device: str, folder: str, **options: Any) -> Any:
    """Load the model in ``folder`` onto ``device``; several with commas between them share it as transformers does."""
    from kaggle_utils.inference.generation import HFGenerator

    return HFGenerator.from_folder(folder, device_map="auto" if "," in device else device, **options)
