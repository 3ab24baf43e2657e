"""Filter files: two passes over data of any size, on all cores, resumed where it was killed.

The first pass judges rows one by one, a chunk of the inputs at a time; the second drops what only the whole set shows.
It promises the same bytes whatever the number of processes and however often it was killed, that every line ends up in
exactly one of the three files, and that none of them is ever seen half written.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from .assembly import write_outputs
from .characters import character_table
from .chunk_job import Tally
from .fields import guess_fields
from .processes import available_cores, filter_chunks
from .reader import Chunk, first_row, plan_chunks
from .report import FilterReport, StageReport
from .set_stages import set_drops
from .settings import FilterSettings
from .stages import ROW_STAGES, SET_STAGES
from .work_folder import Outputs, WorkFolder, fingerprint, write_whole
from .worker import TABLE

__all__ = ["filter_files"]

_Path = str | os.PathLike[str]
_REASONS = 20


def filter_files(
    inputs: _Path | Sequence[_Path],
    output: _Path,
    *,
    settings: FilterSettings | None = None,
    fields: Sequence[str] | None = None,
    processes: int | None = None,
    chunk_bytes: int = 4 << 20,
    resume: bool = True,
    progress: bool = True,
) -> FilterReport:
    """Filter ``inputs`` (.jsonl, .ndjson, .parquet) into ``output`` (.jsonl).

    Beside ``x.jsonl`` appear ``x.dropped.jsonl`` (rows with stage, why, detail, source and line), ``x.bad.jsonl``
    (lines that hold no row) and ``x.report.json``. Rows keep their order; a row that no repair or replacement changed
    keeps its bytes. A second call with the same inputs, fields and settings returns the report of the first.

    Args:
        fields: texts to judge: "answer", "messages.*.content"; None: the usual ones, by the first row.
        processes: None: one a core. Each takes about 150 MB.
        chunk_bytes: bytes of JSONL that are read at once; a parquet row group is one chunk.
        resume: go on where an earlier run was killed; False: begin anew, and replace an output of another run.

    Duplicates are looked for among ``settings.duplicate_rows`` rows at a time, which bounds the memory of this process
    to about 300 bytes each (300 MB), whatever the size of the inputs. Cost is linear in their size. While it runs, a
    hidden folder beside the output takes about the size of the inputs and 250 bytes a row.

    Raises:
        FileNotFoundError, ValueError: inputs that are missing or of another kind, no such fields, an output of a run
            with other settings.
        RuntimeError: another process filters into this output, or a worker died.
    """
    began = time.perf_counter()
    settings = settings or FilterSettings()
    paths = [Path(path) for path in ([inputs] if isinstance(inputs, (str, os.PathLike)) else inputs)]
    _check(paths, Path(output), chunk_bytes, processes)
    chunks = plan_chunks(paths, chunk_bytes)
    names = _fields(fields, paths)
    outputs, folder = Outputs(Path(output)), WorkFolder(Outputs(Path(output)).work)
    digest = fingerprint(paths, settings, names, chunk_bytes)
    if resume and (report := _earlier(outputs, digest)):
        folder.remove()
        return replace(report, seconds=time.perf_counter() - began)
    outputs.kept.parent.mkdir(parents=True, exist_ok=True)
    if not resume:
        folder.remove()
    with folder.claim(digest, {"settings": settings.as_dict(), "fields": list(names)}):
        _first_pass(chunks, folder, settings, names, processes or available_cores(), progress)
        report = _second_pass(chunks, folder, outputs, settings, names, digest)
        folder.remove()
    return replace(report, seconds=time.perf_counter() - began)


def _check(inputs: Sequence[Path], output: Path, chunk_bytes: int, processes: int | None) -> None:
    problems = []
    if not inputs:
        problems.append("no inputs")
    if output.suffix != ".jsonl":
        problems.append(f"output is {output}, expected a name that ends in .jsonl")
    outputs = Outputs(output)
    taken = {p.resolve() for p in (outputs.kept, outputs.dropped, outputs.bad)}
    if clashes := [str(path) for path in inputs if path.resolve() in taken]:
        problems.append(f"an output would overwrite {', '.join(clashes)}; choose another output")
    if len({path.resolve() for path in inputs}) < len(inputs):
        problems.append(f"one file is given twice among the inputs: {', '.join(map(str, inputs))}")
    if chunk_bytes < 64:
        problems.append(f"chunk_bytes is {chunk_bytes}, expected at least 64")
    if processes is not None and processes < 1:
        problems.append(f"processes is {processes}, expected at least 1, or None for one a core")
    if problems:
        raise ValueError("cannot filter:\n" + "\n".join(f"  - {problem}" for problem in problems))


def _fields(fields: Sequence[str] | None, inputs: Sequence[Path]) -> tuple[str, ...]:
    if isinstance(fields, str):
        return (fields,)
    if fields is not None:
        if not fields:
            raise ValueError("fields is empty; name the texts to judge, such as ('question', 'answer')")
        return tuple(fields)
    row = first_row(inputs)
    return guess_fields(row) if row else ("text",)


def _earlier(outputs: Outputs, digest: str) -> FilterReport | None:
    """The report of the same run, where it is complete.

    Raises:
        ValueError: a complete output of another run stands there.
    """
    if not (outputs.report.exists() and outputs.kept.exists()):
        return None
    report = FilterReport.from_json(outputs.report.read_text(encoding="utf-8"))
    if report.fingerprint != digest and not outputs.work.exists():
        raise ValueError(
            f"{outputs.kept} was written with other inputs, fields or settings ({outputs.report} says which); "
            "pass resume=False to replace it, or choose another output"
        )
    return report if report.fingerprint == digest else None


def _first_pass(
    chunks: Sequence[Chunk],
    folder: WorkFolder,
    settings: FilterSettings,
    fields: Sequence[str],
    processes: int,
    progress: bool,
) -> None:
    left = [chunk for chunk in chunks if not folder.is_done(chunk.number)]
    if len(left) > 1 and processes > 1:
        table = character_table(settings.encoding, settings.scripts, settings.allowed_characters)
        with write_whole(folder.path / TABLE) as file:
            np.save(file, table, allow_pickle=False)
    total = sum(chunk.size for chunk in chunks)
    done = total - sum(chunk.size for chunk in left)
    with tqdm(total=total, initial=done, unit="B", unit_scale=True, desc="filter", disable=not progress) as bar:
        for chunk in filter_chunks(left, folder, settings, fields, processes=processes):
            bar.update(chunk.size)


def _second_pass(
    chunks: Sequence[Chunk],
    folder: WorkFolder,
    outputs: Outputs,
    settings: FilterSettings,
    fields: tuple[str, ...],
    digest: str,
) -> FilterReport:
    counts: Counter[str] = Counter()
    tally, places, before = Tally(), [], {}
    for chunk in chunks:
        stats, source = folder.stats(chunk.number), Path(chunk.path).name
        first = before.setdefault(chunk.path, 0)
        places.append((source, first))
        counts.update({name: stats.get(name, 0) for name in ("lines", "rows", "bad", "blank", "changed")})
        tally.merge(stats, source=source, line=first + 1)
        before[chunk.path] += stats.get("lines", 0)
    drops, characters = set_drops(folder, len(chunks), settings, fields, places)
    write_outputs(folder, outputs, drops, places, tally)
    stages = _stage_reports(tally, counts["rows"], settings, characters)
    report = FilterReport(
        **{name: counts[name] for name in ("lines", "rows", "bad", "blank", "changed")},
        kept=counts["rows"] - sum(tally.dropped.values()), stages=stages, fields=fields,
        files={"kept": outputs.kept.name, "dropped": outputs.dropped.name, "bad": outputs.bad.name},
        settings=settings.as_dict(), fingerprint=digest,
    )  # fmt: skip
    report.save(outputs.report)
    return report


def _stage_reports(tally: Tally, rows: int, settings: FilterSettings, characters: int) -> tuple[StageReport, ...]:
    reports, seen = [], rows
    for name in (*ROW_STAGES, *SET_STAGES):
        dropped = tally.dropped[name]
        why = dict(sorted(tally.why.get(name, {}).items(), key=lambda item: (-item[1], item[0]))[:_REASONS])
        skipped = _skipped(name, settings, characters)
        reports.append(StageReport(name, seen, dropped, why, tuple(tally.examples.get(name, ())), skipped))
        seen -= dropped
    return tuple(reports)


def _skipped(name: str, settings: FilterSettings, characters: int) -> str:
    on = {
        "broken text": settings.broken_text, "blocklist": settings.blocklist, "scripts": settings.scripts,
        "characters": settings.encoding, "language": settings.language, "rare characters": settings.rare_counts,
        "repetition": settings.max_repeated_share is not None, "duplicates": settings.duplicates,
        "code and urls": (settings.max_url_share, settings.max_code_share) != (None, None),
    }  # fmt: skip
    if not on.get(name, True):
        return "off"
    if name == "rare characters" and characters < settings.rare_from_characters:
        return f"off: {characters:,} characters, fewer than rare_from_characters={settings.rare_from_characters:,}"
    return ""
