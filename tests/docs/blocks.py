"""Fenced blocks of a Markdown page, and how each is tried: run, or only read where the page says what it needs.

A block of ``text`` right behind another is what that one shows, in doctest's terms: white space counts as one blank,
``...`` stands for anything. ``<!-- needs: kaggle -->`` above a block says that it cannot run in a test, and why.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import importlib
import io
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["NEEDS", "Block", "check_block", "check_command", "page_blocks", "run_block", "shell_environment"]

NEEDS = ("gpu", "kaggle", "network", "time")
SHOWN_ONLY = ("text",)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
_NEEDS = re.compile(r"<!-- needs: (\w+) -->\n\Z")
_OURS = {
    "submission-builder": "submission_builder.cli",
    "python -m kaggle_utils.q20": "kaggle_utils.q20.__main__",
    "python -m kaggle_utils.data.filtering": "kaggle_utils.data.filtering.__main__",
    "python -m kaggle_utils": "kaggle_utils.__main__",
}
"""Program -> module of its ``main(words)``; none is a beginning of a later one."""


@dataclass(frozen=True)
class Block:
    """One fenced block that a reader would run."""

    page: str
    line: int
    """Where its code begins, from 1."""
    language: str
    code: str
    needs: str | None
    """Why it cannot run here."""
    shows: str | None
    """What it prints, as the page says."""


def page_blocks(path: Path) -> list[Block]:
    """The blocks of a page that are not output of another, in order."""
    text = path.read_text(encoding="utf-8")
    found = list(_FENCE.finditer(text))
    blocks = []
    for match, after in zip(found, [*found[1:], None], strict=True):
        if match[1] in SHOWN_ONLY:
            continue
        needs = _NEEDS.search(text[: match.start()])
        shows = after[2] if after and after[1] == "text" and not text[match.end() : after.start()].strip() else None
        line = text.count("\n", 0, match.start(2)) + 1
        blocks.append(Block(path.name, line, match[1], match[2], needs and needs[1], shows))
    return blocks


def run_block(block: Block, names: dict, *, environment: dict[str, str], inputs: Path) -> None:
    """Run it in the current folder: Python here, in ``names``; commands in a shell, attached inputs in ``inputs``."""
    if block.language == "python":
        said = _run_python(block, names)
    else:
        code = block.code.replace("/kaggle/input", str(inputs))
        command = ["bash", "-euo", "pipefail", "-c", code]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, (
            f"{block.page}:{block.line} ended with {done.returncode}\n{done.stdout}{done.stderr}"
        )
        said = done.stdout
    if block.shows is not None:
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        alike = doctest.OutputChecker().check_output(block.shows, said, flags)
        assert alike, f"{block.page}:{block.line} shows\n{block.shows}\nbut prints\n{said}"


def _run_python(block: Block, names: dict) -> str:
    code = "\n" * (block.line - 1) + block.code  # so that a traceback names the page's own line
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, block.page, "exec"), names)
    return said.getvalue()


def check_block(block: Block) -> None:
    """What can be said of a block that is not run: its modules have those names, our commands take those options."""
    if block.language == "python":
        for node in ast.walk(ast.parse(block.code)):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in ("kaggle_utils", "submission_builder"):
                module = importlib.import_module(node.module)
                assert not [a.name for a in node.names if not hasattr(module, a.name)], f"{block.page}:{block.line}"
        return
    for line in block.code.replace("\\\n", " ").splitlines():
        check_command(line, f"{block.page}:{block.line}")


def check_command(line: str, place: str) -> None:
    """Ask one of our commands for help: it exists and knows the options. Other programs are not ours to check."""
    words = shlex.split(line, comments=True)
    for program, module in _OURS.items():
        start = program.split()
        if words[: len(start)] == start:
            command = [word for word in words[len(start) :][:2] if re.fullmatch("[a-z]+[0-9]*", word)]
            known = _help(module, command[:2]) + _help(module, command[:1])
            options = [word.partition("=")[0] for word in words if re.match("--?[a-z]", word)]
            unknown = [o for o in options if o != "-m" and not re.search(rf"(?<![\w-]){o}(?![\w-])", known)]
            assert not unknown, f"{place}: {line}\nknows no {', '.join(unknown)}:\n{known}"
            return


def _help(module: str, words: list[str]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        importlib.import_module(module).main([*words, "--help"])
    return said.getvalue()


def shell_environment(root: Path, inputs: Path) -> dict[str, str]:
    """What a shell on Kaggle has: our commands on the PATH, nothing attached but ``inputs``, no network asked for."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(root), "KAGGLE_UTILS_INPUT_DIR": str(inputs)}
