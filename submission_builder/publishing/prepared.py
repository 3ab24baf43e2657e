"""A folder that is ready for the official client, and the commands that send it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from submission_builder.packing.units import format_size

__all__ = ["Command", "Prepared"]


@dataclass(frozen=True)
class Command:
    """One call of the official client."""

    when: str
    """When it is the right one: "the first time"."""
    arguments: tuple[str, ...]
    """What follows the word ``kaggle``."""

    def __str__(self) -> str:
        return f"kaggle {shlex.join(self.arguments)}"


@dataclass(frozen=True)
class Prepared:
    """What was written, checked against Kaggle's rules as far as they can be known without asking Kaggle."""

    kind: str
    """"dataset", "notebook" or "model"."""
    reference: str
    """``owner/slug``, as others attach it; a model's variation has four parts."""
    path: Path
    files: int
    """Files that are sent."""
    size: int
    """Bytes that are sent."""
    commands: tuple[Command, ...]
    """In the order in which they are needed."""
    dir_mode: tuple[str, ...] = ()
    """``-r zip`` or ``-r tar`` where there are sub-folders, else nothing."""
    linked: int = 0
    """Bytes that the folder shares with its sources."""
    copied: int = 0
    """Bytes that the folder takes on the disk."""
    warnings: tuple[str, ...] = ()

    def to_text(self) -> str:
        """What is there, what to know, what to call.

        >>> print(Prepared("dataset", "ada/wheels", Path("wheels"), 3, 4500,
        ...                (Command("the first time", ("datasets", "create", "-p", "wheels")),), copied=4500).to_text())
        dataset ada/wheels: 3 files, 4.50 kB, in wheels (4.50 kB copied)
        to send it, the first time:
          kaggle datasets create -p wheels
        """
        files = f"{self.files} file{'s' * (self.files != 1)}"
        shared = [f"{format_size(n)} {how}" for n, how in ((self.linked, "shared"), (self.copied, "copied")) if n]
        disk = f" ({', '.join(shared)})" if shared else ""
        lines = [f"{self.kind} {self.reference}: {files}, {format_size(self.size)}, in {self.path}{disk}"]
        lines += [f"warning: {warning}" for warning in self.warnings]
        if self.dir_mode:
            lines.append(f"sub-folders go up only with {' '.join(self.dir_mode)}: else the client leaves them")
        for command in self.commands:
            lines += [f"to send it, {command.when}:", f"  {command}"]
        return "\n".join(lines)

    def facts(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "kind": self.kind, "reference": self.reference, "path": str(self.path), "files": self.files,
            "size": self.size, "linked": self.linked, "copied": self.copied, "warnings": list(self.warnings),
            "commands": [{"when": command.when, "command": str(command)} for command in self.commands],
        }  # fmt: skip
