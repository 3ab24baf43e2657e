"""Helpers that notebooks of Kaggle's LLM competitions import.

Nothing heavy is imported here: take what you need from its module, for example
``from kaggle_utils.environment import input_dir`` or ``from kaggle_utils.q20.agent import make_agent``.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
