"""Which version of a package is asked for, and whether the one that is here will do.

Requirements are read from the installed distribution's own metadata, so that setup.cfg stays the one place that holds
them. It promises the comparisons that this package writes: ``>=``, ``<``, ``==`` and their kin, on numbers such as
4.57. Of a pre-release or a local version (``2.10.0+cu128``) it knows the numbers only.
"""

from __future__ import annotations

import re
from importlib import metadata

__all__ = ["DISTRIBUTION", "declared", "fits", "installed_version", "split_requirement"]

DISTRIBUTION = "kaggle-notebook-utils"
"""The name that pip knows this package by."""

_COMPARISON = re.compile(r"\s*(>=|<=|==|!=|~=|<|>)\s*([0-9][0-9.]*)")


def installed_version(name: str) -> str | None:
    """Return the version of an installed distribution, None where there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def split_requirement(text: str) -> tuple[str, str]:
    """Return a requirement's name and its comparisons.

    >>> split_requirement("transformers>=4.57,<6"), split_requirement('bitsandbytes>=0.50; extra == "llm"')
    (('transformers', '>=4.57,<6'), ('bitsandbytes', '>=0.50'))

    Raises:
        ValueError: the text does not begin with a name.
    """
    match = re.match(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[[^]]*\])?\s*\(?([^;)]*)", text)
    if match is None:
        raise ValueError(f"requirement {text!r} does not begin with a package's name, such as 'torch>=2.6'")
    return match[1].rstrip(".-_"), match[2].replace(" ", "")


def fits(version: str, comparisons: str) -> bool:
    """Return whether a version satisfies comparisons.

    >>> fits("2.10.0+cu128", ">=2.6"), fits("5.0.0", ">=4.57,<6"), fits("4.41.2", ">=4.57,<6"), fits("1", "")
    (True, True, False, True)
    >>> fits("1.18.0", "==1.18.0"), fits("1.20", "~=1.18"), fits("2.0", "~=1.18")
    (True, True, False)

    Raises:
        ValueError: a comparison cannot be read.
    """
    for part in filter(None, comparisons.split(",")):
        match = _COMPARISON.fullmatch(part)
        if match is None:
            raise ValueError(f"comparison {part!r} cannot be read; expected one such as '>=4.57'")
        if not _compare(_numbers(version), match[1], _numbers(match[2])):
            return False
    return True


def declared() -> dict[str, str]:
    """Return name -> comparisons of everything that this package requires, extras included; empty if not installed.

    Copied as plain files (into an agent's archive), the package has no metadata.
    """
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, str] = {}
    for name, comparisons in map(split_requirement, lines):
        found[name] = found.get(name) or comparisons
    return found


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"[0-9]+(\.[0-9]+)*", version.strip())
    if match is None:
        raise ValueError(f"version {version!r} does not begin with numbers such as 2.10.0")
    return tuple(map(int, match[0].split(".")))


def _compare(have: tuple[int, ...], sign: str, want: tuple[int, ...]) -> bool:
    size = max(len(have), len(want))
    a, b = have + (0,) * (size - len(have)), want + (0,) * (size - len(want))
    if sign == "~=":
        return a >= b and a[: len(want) - 1] == want[:-1]
    return {">=": a >= b, "<=": a <= b, "==": a == b, "!=": a != b, "<": a < b, ">": a > b}[sign]
