"""Code in a process of its own that does not import torch and transformers again: a fork of this one has them."""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path
from subprocess import CompletedProcess

__all__ = ["run_forked"]


def run_forked(code: str, folder: Path, *, afresh: str, timeout: float = 200) -> CompletedProcess[str]:
    """Run ``code`` in ``folder``; ``afresh`` is a package that it imports from where it finds it then."""
    import transformers  # noqa: F401 - before the fork

    process = multiprocessing.get_context("fork").Process(target=_run, args=(code, folder, afresh))
    process.start()
    process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
    said = [(folder / name).read_text(encoding="utf-8") for name in ("stdout.txt", "stderr.txt")]
    return CompletedProcess([sys.executable, "-c", code], process.exitcode, *said)


def _run(code: str, folder: Path, afresh: str) -> None:
    import torch

    torch.set_num_threads(1)  # the threads of the parent are not here, and a computation would wait for them
    for name in [name for name in sys.modules if name.partition(".")[0] == afresh]:
        del sys.modules[name]
    os.chdir(folder)
    for name, stream in (("stdout.txt", 1), ("stderr.txt", 2)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    sys.stdout, sys.stderr = (open(stream, "w", buffering=1, closefd=False) for stream in (1, 2))  # noqa: SIM115
    exec(compile(code, "<forked>", "exec"), {"__name__": "__main__"})
