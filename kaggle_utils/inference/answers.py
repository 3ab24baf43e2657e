"""Tasks and their answers as plain values, and the file that is submitted.

It promises ``output.jsonl`` whole or not at all: one line a task, in the order of the tasks. It knows no model.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kaggle_utils.chat.messages import Conversation, as_conversation

__all__ = ["Answer", "Answers", "Task", "write_output"]


@dataclass(frozen=True)
class Task:
    """One thing to answer."""

    task_id: str | int
    """Its name in the task file; unique."""
    conversation: str | Conversation
    """The prompt, examples included; a text alone is one user turn."""
    examples: tuple[tuple[str, str], ...] = ()
    """Retrieved (question, answer) pairs that the prompt holds, for showing only."""
    max_new_tokens: int | None = None
    """Its own limit; None for that of the settings."""
    time_limit: float | None = None
    """Seconds from its start; None for none."""

    @property
    def input(self) -> str:
        """The last turn's text."""
        return as_conversation(self.conversation)[-1].content


@dataclass(frozen=True)
class Answer:
    """One task's answer and how it came about."""

    task_id: str | int
    """As in the task."""
    input: str
    """The last turn of the task's conversation."""
    output: str
    """The answer; "" where there is none (yet)."""
    examples: tuple[tuple[str, str], ...] = ()
    """As in the task."""
    prompt_tokens: int | None = None
    """Tokens of the prompt; None where the generator does not tell."""
    output_tokens: int | None = None
    """Tokens generated; None where the generator does not tell."""
    seconds: float | None = None
    """From the start of the row to its last token, on a device shared with other rows."""
    finish_reason: str | None = None
    """As in :class:`Generated`: "stop", "length", "time_limit", "deadline"; None where the generator does not tell."""

    @property
    def finished(self) -> bool:
        """Whether it is final: an answer cut off by the deadline is computed again in the next run."""
        return self.finish_reason != "deadline"


@dataclass(frozen=True)
class Answers(Sequence[Answer]):
    """A run's answers, in the order of the tasks."""

    rows: tuple[Answer, ...]
    """One a task."""
    seconds: float
    """Of this call."""
    reused: int
    """Answers that the store held already."""
    path: Path | None = None
    """The file that was written."""

    @property
    def unfinished(self) -> list[str | int]:
        """Tasks without a final answer."""
        return [row.task_id for row in self.rows if not row.finished]

    def report(self) -> str:
        """What happened, in a few lines."""
        tokens = sum(row.output_tokens or 0 for row in self.rows)
        lines = [
            f"{len(self.rows)} tasks in {self.seconds:.1f} s: {self.reused} from the store, "
            f"{len(self.unfinished)} unfinished, {tokens} tokens"
        ]
        if self.unfinished:
            names = ", ".join(map(str, self.unfinished[:20])) + ", ..." * (len(self.unfinished) > 20)
            lines.append(f"unfinished (as far as they came; run again with the same store to go on): {names}")
        if empty := [row.task_id for row in self.rows if not row.output.strip()]:
            lines.append(f"empty output: {', '.join(map(str, empty[:20]))}" + ", ..." * (len(empty) > 20))
        return "\n".join(lines)

    def __getitem__(self, index):
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Answer]:
        return iter(self.rows)


def write_output(answers: Sequence[Answer], target: str | os.PathLike[str]) -> Path:
    """Write ``{"task_id", "output"}`` lines, UTF-8, in order; a crash leaves the old file or none."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".partial")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            for answer in answers:
                # What no UTF-8 can hold (half of a surrogate pair) must not cost the file.
                output = answer.output.encode("utf-8", "replace").decode()
                file.write(json.dumps({"task_id": answer.task_id, "output": output}, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return target
