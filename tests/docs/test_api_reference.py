"""docs/api says what the docstrings say."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_reference_is_up_to_date():
    """Written again in memory: no file differs, none is missing, none is left over."""
    pages = runpy.run_path(str(ROOT / "scripts" / "api_reference.py"))["api_pages"]()
    there = {f"docs/api/{path.name}": path.read_text(encoding="utf-8") for path in (ROOT / "docs/api").glob("*.md")}
    differing = sorted(name for name in {*pages, *there} if pages.get(name) != there.get(name))
    assert not differing, f"run: python scripts/api_reference.py (differing: {', '.join(differing)})"


def test_signatures_units_and_errors_are_there():
    text = (ROOT / "docs/api/kaggle_utils.data.md").read_text(encoding="utf-8")
    part = text.partition("### write_submission")[2].partition("\n### ")[0]
    assert "write_submission(" in part and "**Raises**" in part and "```text" in part
