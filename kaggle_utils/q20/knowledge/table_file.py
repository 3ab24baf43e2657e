"""Knowledge tables as files: a JSON header and raw arrays, checked, written atomically, never a pickle.

Two forms of one format. An expanded file holds both access orders and is memory-mapped: it opens in milliseconds and
several processes share its pages. A compressed file (what ships) holds one order in deflate; it is expanded once into
a cache folder, or straight into memory where no folder can be written.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from kaggle_utils.q20.knowledge.bank import QuestionBank
from kaggle_utils.q20.knowledge.cache_folder import cache_folder
from kaggle_utils.q20.knowledge.objects import Objects
from kaggle_utils.q20.knowledge.table import KnowledgeTable
from kaggle_utils.q20.knowledge.table_format import TableFile, write_arrays

__all__ = ["SHIPPED", "load_table", "save_table"]

SHIPPED = Path(__file__).parents[1] / "data" / "table.q20"
"""The default table; ``scripts/compile_table.py`` makes it."""


def save_table(table: KnowledgeTable, path: str | os.PathLike, *, compress: bool = False) -> Path:
    """Write a table, replacing what stands at ``path`` only when all of it is on disk.

    ``compress`` makes the form that ships, one order in deflate; otherwise both orders are written raw, 2·N·Qs bytes,
    to be memory-mapped.
    """
    arrays = {
        "by_question": table.by_question,
        **({} if compress else {"by_object": table.by_object}),
        "prior": table.objects.prior,
        "match_class": table.objects.match_class,
        "clarity": table.bank.clarity,
        "lexical": table.bank.lexical.astype(np.uint8),
        "unknown": table.unknown,
        "levels": np.stack([table.levels, *table.family_levels.values()]),
    }
    return write_arrays(Path(path), _words(table), arrays, compress=compress)


def _words(table: KnowledgeTable) -> dict[str, Any]:
    """All that is text."""
    objects, bank = table.objects, table.bank
    categories, families = sorted(set(objects.categories)), sorted(set(bank.families))
    return {
        "words": objects.words,
        "aliases": {str(index): names for index, names in enumerate(objects.aliases) if names},
        "categories": categories,
        "category_of": list(map({name: i for i, name in enumerate(categories)}.__getitem__, objects.categories)),
        "texts": bank.texts,
        "families": families,
        "family_of": list(map({name: i for i, name in enumerate(families)}.__getitem__, bank.families)),
        "levels_of": list(table.family_levels),
    }


def load_table(path: str | os.PathLike | None = None, *, verify: bool | None = None) -> KnowledgeTable:
    """Read a table, by default the shipped one (read once per process).

    Args:
        path: a file of ``save_table``, expanded or compressed.
        verify: compare the checksums of all arrays; by default where they are decompressed, and not where they are
            memory-mapped, which would read the whole file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a table, of another version, cut short or damaged; the message says which.
    """
    if path is None:
        return _shipped()
    return _load(Path(path), verify)


@lru_cache(maxsize=1)
def _shipped() -> KnowledgeTable:
    return _load(SHIPPED, None)


def _load(path: Path, verify: bool | None) -> KnowledgeTable:
    file = TableFile(path)
    if file.raw:
        return _table(file, file.arrays(verify=bool(verify)))
    folder = cache_folder()
    expanded = folder / f"table-{file.digest[:20]}.q20" if folder else None
    if expanded is not None and expanded.is_file():
        try:
            return _load(expanded, verify)
        except (ValueError, OSError):  # damaged in the cache: made again from the source
            expanded.unlink(missing_ok=True)
    table = _table(file, file.arrays(verify=verify is not False))
    if expanded is None:
        return table
    try:
        save_table(table, expanded)
        return _load(expanded, False)
    except OSError:  # a full disk is no reason to fail: the table is in memory
        return table


def _table(file: TableFile, arrays: dict[str, np.ndarray]) -> KnowledgeTable:
    header, path = file.header, file.path
    try:
        words, families, categories = header["words"], header["families"], header["categories"]
        aliases: list[tuple[str, ...]] = [()] * len(words)
        for index, names in header["aliases"].items():
            aliases[int(index)] = tuple(names)
        objects = Objects.from_columns(
            words,
            aliases,
            [categories[number] for number in header["category_of"]],
            arrays["prior"],
            match_class=arrays["match_class"],
        )
        bank = QuestionBank.from_columns(
            header["texts"],
            [families[number] for number in header["family_of"]],
            arrays["clarity"],
            arrays["lexical"].astype(bool),
        )
        return KnowledgeTable(
            objects,
            bank,
            arrays.get("by_object"),
            by_question=arrays["by_question"],
            levels=arrays["levels"][0],
            family_levels=dict(zip(header["levels_of"], arrays["levels"][1:], strict=True)),
            unknown=arrays["unknown"],
        )
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} holds no consistent knowledge table: {error}") from error
