"""The ready agent that ships with the package."""

from __future__ import annotations

from pathlib import Path

__all__ = ["template_main"]


def template_main() -> Path:
    """Path of the ready ``main.py`` for LLM 20 Questions; copy it to change it, or pack it as it is.

    >>> template_main().name
    'main.py'
    """
    return Path(__file__).parent / "templates" / "main.py"
