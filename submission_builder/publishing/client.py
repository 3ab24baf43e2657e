"""Kaggle's official command-line client, run as a process of its own.

Credentials are the client's business: this module reads no token, no file and no variable of them, and passes the
environment on as it is. What the client prints is shown as it comes, with anything that looks like a secret blotted
out. The client exits with 0 after some failures (kaggle 2.2: "Dataset creation error: ..."), so the words count too.
"""

from __future__ import annotations

import codecs
import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

__all__ = ["KaggleClient", "Reply", "find_client", "is_progress", "redact"]

_SECRETS = (
    (re.compile(r"KGAT_\w+"), "[hidden]"),
    (re.compile(r"\b[0-9a-f]{32,}\b"), "[hidden]"),
    (re.compile(r"(?i)(bearer|basic)\s+[\w.~+/=-]{8,}"), r"\1 [hidden]"),
    (re.compile(r"(?i)([\"']?\w*(?:key|token|secret|password|signature|upload_id)\w*[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,}]{8,}"),
     r"\1[hidden]"),
)  # fmt: skip
_PROGRESS = re.compile(r"\s*\d+%\|")
_KEPT_LINES = 2000


def redact(text: str) -> str:
    """``text`` without what looks like a key, a token or a signature.

    >>> redact("PUT https://storage/x?upload_id=AbC-123_xyz&a=1 Authorization: Bearer abcdef123456")
    'PUT https://storage/x?upload_id=[hidden]&a=1 Authorization: Bearer [hidden]'
    """
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def is_progress(line: str) -> bool:
    """Whether a line is one state of a progress bar.

    >>> is_progress(" 42%|####      | 1.2G/2.9G"), is_progress("Upload successful: a.whl (3MB)")
    (True, False)
    """
    return _PROGRESS.match(line) is not None


@dataclass(frozen=True)
class Reply:
    """How one call of the client ended."""

    arguments: tuple[str, ...]
    status: int
    lines: tuple[str, ...]
    """The last lines that it printed, redacted, without progress bars."""

    @property
    def text(self) -> str:
        """The lines as one text."""
        return "\n".join(self.lines)

    def says(self, pattern: str) -> bool:
        """Whether a line fits the pattern, in any case."""
        return any(re.search(pattern, line, flags=re.IGNORECASE) for line in self.lines)


@dataclass(frozen=True)
class KaggleClient:
    """The client found on this machine."""

    command: tuple[str, ...]
    echo: Callable[[str], object] | None = None
    """Gets each redacted line as it comes, those of progress bars too; None keeps quiet."""

    def run(self, *arguments: str, echo: bool = True) -> Reply:
        """Call it and wait; nothing can be typed in, so that a question ends in an error and not in a wait."""
        lines: deque[str] = deque(maxlen=_KEPT_LINES)
        process = subprocess.Popen(
            [*self.command, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            for line in _lines(process):
                shown = redact(line)
                if not is_progress(shown):  # thousands of them would push the words out that matter
                    lines.append(shown)
                if echo and self.echo:
                    self.echo(shown)
            return Reply(arguments, process.wait(), tuple(lines))
        except BaseException:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
            raise
        finally:
            if process.stdout:
                process.stdout.close()


def find_client(*, echo: Callable[[str], object] | None = None) -> KaggleClient:
    """The ``kaggle`` on the PATH, else the package in this Python.

    Raises:
        ModuleNotFoundError: neither is there; the message says what to install.
    """
    found = shutil.which("kaggle")
    if found:
        return KaggleClient((found,), echo)
    spec = importlib.util.find_spec("kaggle")
    if spec is not None and spec.origin:  # a folder that happens to be called kaggle has no origin
        return KaggleClient((sys.executable, "-m", "kaggle"), echo)
    raise ModuleNotFoundError(
        "--upload needs Kaggle's official client, and there is no 'kaggle' on the PATH or in this Python: "
        "pip install kaggle, log in with `kaggle auth login`, and run the same command again (the folder stays ready)",
        name="kaggle",
    )


def _lines(process: subprocess.Popen) -> Iterator[str]:
    """Lines as they come; a progress bar ends its lines with a carriage return."""
    decoder, rest = codecs.getincrementaldecoder("utf-8")("replace"), ""
    descriptor = process.stdout.fileno()
    while data := os.read(descriptor, 1 << 16):
        *whole, rest = re.split(r"[\r\n]+", rest + decoder.decode(data))
        yield from filter(None, whole)
    rest += decoder.decode(b"", final=True)
    if rest:
        yield rest
