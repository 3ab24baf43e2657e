"""A real browser for tests: the page as headless Chromium shows it, or its document after everything has run."""

from __future__ import annotations

import html as html_module
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["dump_dom", "find_browser", "measure", "screenshot"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)
NARROWEST = 500
"""Chromium makes no narrower window: a phone is shown in a frame."""


def find_browser() -> str | None:
    """Return the first Chromium on PATH, None where there is none."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


def dump_dom(page: str | os.PathLike[str], *, width: int = 1200, height: int = 900, dark: bool = False) -> str:
    """Return the document of ``page`` (a path, or HTML text) after its scripts, if any, have run."""
    return _run(page, ["--dump-dom", "--virtual-time-budget=4000"], width, height, dark)


def screenshot(
    page: str | os.PathLike[str],
    *,
    width: int,
    height: int,
    dark: bool = False,
    target: str | os.PathLike[str] | None = None,
) -> Path:
    """Write a PNG of ``page`` (a path, or HTML text) as seen ``width`` CSS pixels wide, and return its path."""
    target = Path(target) if target else Path(tempfile.mkdtemp(prefix="shot-")) / "page.png"
    if width < NARROWEST:
        page = _OUTER + _frame(_text(page), width, height)
    _run(page, [f"--screenshot={target}"], width, height, dark)
    return target


def measure(pages: Sequence[tuple[str, int]], expression: str, *, dark: bool = False) -> list[Any]:
    """Return the value of a JavaScript expression in each page, given as (HTML text, width in CSS pixels).

    The pages stand in frames of one outer document, as narrow as a phone where that is asked; the expression sees the
    inner document as ``page``. A page's own policy stays in force for it, not for the outer document.
    """
    frames = "".join(_frame(html, width) for html, width in pages)
    script = (
        "onload=()=>{document.title=JSON.stringify([...document.querySelectorAll('iframe')].map(frame=>"
        f"{{const page=frame.contentDocument;return {expression}}}))}}"
    )
    dom = dump_dom(f"{_OUTER}<title>waiting</title>{frames}<script>{script}</script>", dark=dark)
    title = re.search(r"<title>(.*?)</title>", dom, re.DOTALL).group(1)
    return json.loads(html_module.unescape(title))


_OUTER = '<!doctype html><meta charset="utf-8"><style>body{margin:0}iframe{border:0;display:block}</style>'


def _frame(html: str, width: int, height: int = 800) -> str:
    escaped = html.replace("&", "&amp;").replace('"', "&quot;")
    return f'<iframe width="{width}" height="{height}" srcdoc="{escaped}"></iframe>'


def _run(page: str | os.PathLike[str], options: list[str], width: int, height: int, dark: bool) -> str:
    browser = find_browser()
    if browser is None:
        raise FileNotFoundError(f"no browser on PATH (looked for {', '.join(NAMES)})")
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as folder:
        path = Path(folder, "page.html")
        path.write_text(_text(page), encoding="utf-8")
        scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
        command = [browser, *FLAGS, *scheme, f"--user-data-dir={folder}/profile", f"--window-size={width},{height}"]
        done = subprocess.run(
            [*command, *options, path.as_uri()], capture_output=True, encoding="utf-8", timeout=120, check=False
        )
    if done.returncode:
        raise RuntimeError(f"{browser} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def _text(page: str | os.PathLike[str]) -> str:
    if isinstance(page, str) and page.lstrip().startswith("<"):
        return page
    return Path(page).read_text(encoding="utf-8")
