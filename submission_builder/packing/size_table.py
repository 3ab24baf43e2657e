"""The table of a plan: each thing that goes in, its size, what it is expected to take, and what dominates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from submission_builder.packing.units import format_size

if TYPE_CHECKING:
    from submission_builder.plan import SubmissionPlan

__all__ = ["align", "size_table"]


def align(rows: Sequence[Sequence[str]], *, right: Sequence[int]) -> list[str]:
    """Lines with columns of equal width; the columns whose number is in ``right`` are flush right.

    >>> align([["a", "1 B"], ["model", "18.5 GB"]], right=[1])
    ['a          1 B', 'model  18.5 GB']
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    padded = [
        [cell.rjust(widths[i]) if i in right else cell.ljust(widths[i]) for i, cell in enumerate(row)] for row in rows
    ]
    return ["  ".join(row).rstrip() for row in padded]


def size_table(plan: SubmissionPlan) -> str:
    """Text of a few lines, without colour, at most about 110 columns wide."""
    groups: dict[str, list] = {"main.py": []}
    for file in plan.files:
        groups.setdefault(file.group, []).append(file)
    rows = [["what", "files", "size", "in archive", "how"]]
    for group, files in groups.items():
        stored = sum(file.stored for file in files)
        how = "deflate" if not stored else "stored" if stored == len(files) else f"deflate, {stored} stored"
        rows.append([group, f"{len(files):,}", format_size(sum(f.size for f in files)), _expected(plan, files), how])
    rows.append(["total", f"{len(plan.files):,}", format_size(plan.unpacked_size), _about(plan), ""])
    lines = align(rows, right=[1, 2, 3])
    lines.insert(len(lines) - 1, "-" * max(map(len, lines)))
    return "\n".join([*lines, "", *_facts(plan)])


def _expected(plan: SubmissionPlan, files: Sequence) -> str:
    return ("" if plan.compress == "never" else "~") + format_size(sum(file.predicted for file in files))


def _about(plan: SubmissionPlan) -> str:
    return ("" if plan.compress == "never" else "~") + format_size(plan.predicted_size)


def _facts(plan: SubmissionPlan) -> list[str]:
    limit = plan.profile.max_archive_bytes
    share = f"{100 * plan.predicted_size / limit:.1f} % of the limit of {format_size(limit)}"
    share = share if limit < 2**62 else "no limit"
    facts = [["output", str(plan.output)], ["profile", f"{plan.profile.name}: {share}"]]
    facts.append(["at most", f"{plan.stored_size:,} bytes (exact, if nothing could be compressed)"])
    if plan.free_bytes is not None:
        facts.append(["free", f"{format_size(plan.free_bytes)} at the output"])
    if plan.files:
        facts.append(["largest", _largest(plan)])
    facts += [["warning", text] for text in plan.warnings]
    return align(facts, right=[])


def _largest(plan: SubmissionPlan) -> str:
    top = max(plan.files, key=lambda file: file.predicted)
    whole = max(sum(file.predicted for file in plan.files), 1)
    return f"{top.name}: {format_size(top.size)}, {100 * top.predicted / whole:.0f} % of the archive"
