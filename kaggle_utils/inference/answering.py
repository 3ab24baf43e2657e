"""Answer a list of tasks and write ``output.jsonl``, over several runs if need be.

It promises one line a task in the order of the tasks, whatever happens: an answer is in the store as soon as it is
there, so a killed run goes on without loss or repetition, and a deadline leaves "" or the part that was written, and a
report that says so. It does not know how text is generated; any ``TextGenerator`` serves, and one with
``generate_each`` (``ContinuousGenerator``) tells of each task when it is over.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from kaggle_utils._optional import require
from kaggle_utils.chat.generator import GenerationSettings, TextGenerator
from kaggle_utils.chat.messages import as_conversation
from kaggle_utils.inference.answer_store import AnswerStore
from kaggle_utils.inference.answers import Answer, Answers, Task, write_output
from kaggle_utils.inference.deadline import Deadline
from kaggle_utils.inference.decoding_row import Generated
from kaggle_utils.inference.fingerprint import run_fingerprint

__all__ = ["answer_tasks", "answering_fingerprint"]


def answer_tasks(
    tasks: Iterable[Task],
    generator: TextGenerator,
    *,
    output: str | os.PathLike[str] | None = "output.jsonl",
    store: str | os.PathLike[str] | None = None,
    settings: GenerationSettings | None = None,
    deadline: float | Deadline | None = None,
    fingerprint: str | None = None,
    chunk: int = 16,
) -> Answers:
    """Answer ``tasks`` in any order and return the answers in theirs.

    Args:
        tasks: with ids that are unique.
        generator: what answers; a ``ContinuousGenerator`` gets all tasks in one call, any other ``chunk`` at a time.
        output: the file to write, or None.
        store: a SQLite file that keeps finished answers; None keeps nothing.
        settings: how to generate.
        deadline: seconds from now, or a moment, when the call has to be over. A generator without ``generate_each``
            heeds it as the time limit of each chunk.
        fingerprint: a name for everything that decides the answers besides the tasks; by default
            :func:`answering_fingerprint`.
        chunk: tasks a call for generators without ``generate_each``: what a kill may cost.

    Raises:
        ValueError: task ids that occur twice, all named.
        kaggle_utils.inference.answer_store.AnswerStoreError: a store that cannot be used.
    """
    started, tasks = time.monotonic(), list(tasks)
    settings, end = settings or GenerationSettings(), Deadline.of(deadline)
    if twice := [task_id for task_id, n in Counter(_plain(task.task_id) for task in tasks).items() if n > 1]:
        raise ValueError(f"task ids must be unique; these occur more than once: {', '.join(map(str, twice))}")
    keys = [(task.task_id, _digest(task)) for task in tasks]
    with contextlib.ExitStack() as stack:
        kept = None
        if store is not None:
            name = fingerprint or answering_fingerprint(generator, settings)
            kept = stack.enter_context(AnswerStore(store, name))
        found = kept.get(keys) if kept is not None else {}
        reused = len(found)
        left = [place for place in range(len(tasks)) if place not in found]

        def done(place: int, answer: Generated) -> None:
            found[place] = answer
            if kept is not None and answer.finish_reason != "deadline":
                kept.put(*keys[place], answer)

        _generate(tasks, left, generator, settings, end, done, chunk)
    nothing = Generated("", None, 0, None, "deadline")  # type: ignore[arg-type]
    rows = tuple(_answer(task, found.get(place, nothing)) for place, task in enumerate(tasks))
    path = write_output(rows, output) if output is not None else None
    return Answers(rows, time.monotonic() - started, reused, path)


def answering_fingerprint(generator: Any, settings: GenerationSettings) -> str:
    """A name for what decides an answer: the model's files, the template, the prompt limit and the settings.

    Time limits are no part of it: an answer that was not cut off is the same without. Adapters of peft are known by
    their numbers. Other weights that were changed in memory, or not loaded from a folder, are not seen: only the config
    and the class are; give ``fingerprint`` yourself there.
    """
    plain = {k: v for k, v in dataclasses.asdict(settings).items() if k != "time_limit"}
    plain |= {
        "template": repr(getattr(generator, "template", None)) if _stable(getattr(generator, "template", None)) else
        type(getattr(generator, "template", None)).__name__,
        "max_prompt_tokens": getattr(generator, "max_prompt_tokens", None),
        "generator": type(generator).__name__,
    }  # fmt: skip
    model = getattr(generator, "model", None)
    config = getattr(model, "config", None)
    folder = str(getattr(config, "_name_or_path", "") or "")
    plain |= {"model": type(model).__name__, "dtype": str(getattr(model, "dtype", ""))}
    if getattr(model, "peft_config", None):
        plain["adapter"] = _adapter_digest(model)
    if config is not None and hasattr(config, "to_dict"):
        plain["config"] = hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True, default=str).encode()).hexdigest()
    if folder and Path(folder).is_dir():
        return run_fingerprint(folder, **plain)
    return hashlib.sha256(json.dumps([folder, plain], sort_keys=True, default=str).encode()).hexdigest()


def _adapter_digest(model: Any) -> str:
    """Of what peft put into a model: which adapters are on, their settings and their numbers."""
    own = {name: config.to_dict() for name, config in sorted(model.peft_config.items())}
    settings = [str(getattr(model, "active_adapters", "")), own]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=_listed).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if "lora_" in name or "modules_to_save" in name or "prompt_" in name:
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(name.encode() + flat.view(require("torch", extra="llm").uint8).numpy().tobytes())
    return digest.hexdigest()


def _listed(value: Any) -> Any:
    """Sets have another order in every process."""
    return sorted(value, key=str) if isinstance(value, set | frozenset) else str(value)


def _generate(
    tasks: Sequence[Task],
    left: Sequence[int],
    generator: Any,
    settings: GenerationSettings,
    end: Deadline,
    done: Callable[[int, Generated], None],
    chunk: int,
) -> None:
    """Answer the tasks at the places ``left``."""
    conversations = [as_conversation(tasks[place].conversation) for place in left]
    if hasattr(generator, "generate_each"):
        generator.generate_each(
            conversations,
            settings,
            max_new_tokens=[tasks[place].max_new_tokens for place in left],
            time_limits=[tasks[place].time_limit for place in left],
            keys=[json.dumps(tasks[place].task_id) for place in left],
            deadline=end,
            on_done=lambda i, answer: done(left[i], answer),
            progress="answer",
        )
        return
    with tqdm(total=len(left), desc="answer", delay=2) as bar:
        for start in range(0, len(left), chunk):
            if end.left() <= 0:
                return
            places = left[start : start + chunk]
            _chunk([tasks[p] for p in places], conversations[start : start + chunk], generator, settings, end,
                   lambda i, answer, places=places: done(places[i], answer))  # fmt: skip
            bar.update(len(places))


def _chunk(tasks, conversations, generator, settings, end, done) -> None:
    """One call a limit of tokens; the tightest time limit of its tasks holds for it."""
    groups: dict[tuple[int, float | None], list[int]] = {}
    for i, task in enumerate(tasks):
        key = (task.max_new_tokens or settings.max_new_tokens, task.time_limit)
        groups.setdefault(key, []).append(i)
    for (limit, seconds), members in groups.items():
        limits = [s for s in (settings.time_limit, seconds, end.left() if end.set else None) if s is not None]
        if limits and min(limits) <= 0:
            continue
        own = dataclasses.replace(settings, max_new_tokens=limit, time_limit=min(limits) if limits else None)
        started = time.monotonic()
        texts = generator.generate([conversations[i] for i in members], own)
        taken = time.monotonic() - started
        cut = bool(limits) and taken >= min(limits)  # any of them may have been cut: none is final
        for i, text in zip(members, texts, strict=True):
            done(i, Generated(text, None, None, taken / len(members), "deadline" if cut else None))  # type: ignore[arg-type]


def _answer(task: Task, made: Generated) -> Answer:
    return Answer(
        task.task_id,
        task.input,
        made.text,
        tuple(task.examples),
        made.prompt_tokens,
        made.output_tokens,
        made.seconds,
        made.finish_reason,
    )


def _digest(task: Task) -> str:
    """Of the conversation and the task's own limit; examples are in the conversation."""
    turns = [[turn.role, turn.content] for turn in as_conversation(task.conversation)]
    return hashlib.sha256(json.dumps([turns, task.max_new_tokens], ensure_ascii=True).encode()).hexdigest()


def _plain(task_id: str | int) -> str:
    return json.dumps(task_id)


def _stable(value: Any) -> bool:
    """Whether its repr is the same in another process."""
    return " at 0x" not in repr(value)
