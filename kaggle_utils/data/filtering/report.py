"""What a run did: of each stage how many rows it saw and dropped, why, and examples. As text, JSON and a picture."""

from __future__ import annotations

import html
import json
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .report_plot import draw

__all__ = ["FilterReport", "StageReport"]


@dataclass(frozen=True)
class StageReport:
    """One stage."""

    name: str
    """Its name, as in the file of dropped rows."""
    seen: int
    """Rows that reached it."""
    dropped: int
    """Rows it dropped."""
    why: Mapping[str, int] = field(default_factory=dict)
    """Reason -> rows, the most frequent first; at most 20."""
    examples: Sequence[Mapping[str, Any]] = ()
    """The first rows it dropped: source, line (from 1), field, why, detail, text."""
    skipped: str = ""
    """Why it did not run."""


@dataclass(frozen=True)
class FilterReport:
    """One run. ``rows == kept + sum(stage.dropped)`` and ``lines == rows + bad + blank``."""

    lines: int
    """Lines of the inputs (rows of parquet)."""
    rows: int
    """Lines with a row on them."""
    bad: int
    """Lines without: kept aside."""
    blank: int
    """Empty lines."""
    kept: int
    """Rows in the output."""
    changed: int
    """Of the rows that passed the first pass, those whose text was repaired or replaced."""
    stages: tuple[StageReport, ...]
    """In their order."""
    fields: tuple[str, ...]
    """What was judged."""
    files: Mapping[str, str]
    """Names of kept, dropped and bad."""
    settings: Mapping[str, Any]
    """As :meth:`FilterSettings.as_dict` gives them."""
    fingerprint: str = ""
    """Of inputs, fields and settings."""
    seconds: float | None = field(default=None, compare=False)
    """Duration of the call that gave this report; not in the file."""

    def to_json(self) -> str:
        """Everything but the duration, which differs from run to run."""
        values = asdict(self)
        del values["seconds"]
        return json.dumps(values, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> FilterReport:
        """Read what :meth:`to_json` gave."""
        values = json.loads(text)
        stages = ({**stage, "examples": tuple(stage["examples"])} for stage in values["stages"])
        values["stages"] = tuple(StageReport(**stage) for stage in stages)
        return cls(**{**values, "fields": tuple(values["fields"])})

    def stage(self, name: str) -> StageReport:
        """The stage called ``name``.

        Raises:
            KeyError: no such stage, with the names there are.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(f"no stage {name!r}; there are {', '.join(stage.name for stage in self.stages)}")

    def to_text(self, *, examples: bool = True) -> str:
        """A table, then examples of each stage."""
        lines = [self._headline(), "", f"{'stage':<18}{'seen':>12}{'dropped':>10}{'share':>8}  why"]
        for stage in self.stages:
            share = f"{stage.dropped / max(1, stage.seen):.1%}"
            lines.append(f"{stage.name:<18}{stage.seen:>12,}{stage.dropped:>10,}{share:>8}  {_reasons(stage)}")
        for stage in self.stages if examples else ():
            for example in stage.examples:
                place = f"{example['source']}:{example['line']} {example['field']}".rstrip()
                why = f"{_shown(example['why'], 30)} - {_shown(example['detail'], 90)}"
                lines += ["", f"{stage.name}: {place}: {why}", f"    {_shown(example['text'], 90)}"]
        return "\n".join(lines) + "\n"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the JSON, whole or not at all."""
        target = Path(path)
        temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        temporary.write_text(self.to_json(), encoding="utf-8", errors="backslashreplace")
        return temporary.replace(target)

    def to_png(self, path: str | os.PathLike[str]) -> Path:
        """Draw a bar for each stage: what was left after it, and what it dropped. Needs matplotlib."""
        return draw(self, Path(path))

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        rows = [("stage", "seen", "dropped", "share", "why")]
        for stage in self.stages:
            share = f"{stage.dropped / max(1, stage.seen):.1%}"
            rows.append((stage.name, f"{stage.seen:,}", f"{stage.dropped:,}", share, _reasons(stage)))
        cells = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
        return f"<p>{html.escape(self._headline())}</p><table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"

    def _headline(self) -> str:
        kept = f"{self.kept:,} of {self.rows:,} rows kept ({self.kept / max(1, self.rows):.1%})"
        return (
            f"{kept}, {self.changed:,} changed; {self.bad:,} bad lines, {self.blank:,} blank; "
            f"fields {', '.join(self.fields)}"
        )


def _reasons(stage: StageReport) -> str:
    return stage.skipped or ", ".join(f"{_shown(name, 24)} {count:,}" for name, count in list(stage.why.items())[:5])


def _shown(text: str, limit: int) -> str:
    """On one line, cut, without anything that a terminal would obey."""
    clean = "".join(c if unicodedata.category(c) not in ("Cc", "Cf", "Cs") else " " for c in str(text))
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
