"""What a stage says about a text: why it goes, and where that is seen."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Finding"]


class Finding(NamedTuple):
    """Why a text goes."""

    why: str
    """Short, the same for all texts of its kind: counted in the report."""
    detail: str = ""
    """What exactly, in this text."""
