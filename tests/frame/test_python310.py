"""The light core runs on Python 3.10, the image of the 20 Questions competition."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
from pathlib import Path

import modules
import pytest

# Modules and names that came after 3.10 and that syntax alone does not show.
TOO_NEW = {
    "tomllib",
    "enum.StrEnum",
    "datetime.UTC",
    "typing.Self",
    "typing.assert_never",
    "typing.LiteralString",
    "itertools.batched",
    "asyncio.TaskGroup",
    "asyncio.timeout",
    "contextlib.chdir",
    "typing.override",
}


def _pythons_310() -> list[str]:
    found = [
        shutil.which("python3.10"),
        *map(str, Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/3.10*/bin/python")),
    ]
    return [p for p in found if p and _version(p) == "3.10"]


def _version(python: str) -> str:
    done = subprocess.run(
        [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("module", modules.light())
def test_light_core_keeps_to_310_syntax_and_names(module):
    path = modules.files()[module]
    source = path.read_text(encoding="utf-8")
    ast.parse(source, filename=str(path), feature_version=(3, 10))
    assert not any(isinstance(n, ast.TryStar) for n in ast.walk(modules.tree(path))), f"{module}: except* is 3.11"
    names = {n.id for n in ast.walk(modules.tree(path)) if isinstance(n, ast.Name)}
    assert not names & {"ExceptionGroup", "BaseExceptionGroup"}, f"{module}: exception groups are 3.11"
    used = modules.imported(path, module) & TOO_NEW
    assert not used, f"{module} imports {used}, which Python 3.10 does not have"


def test_template_main_compiles_on_310():
    path = modules.ROOT / "submission_builder" / "templates" / "main.py"
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))


def test_light_core_runs_on_a_real_310():
    """Imports every light module that needs only the standard library, on a real 3.10 where the machine has one."""
    pythons = _pythons_310()
    if not pythons:
        pytest.skip("no Python 3.10 on this machine")
    code = """
import importlib, sys
failed = []
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name.partition(".")[0] not in ("numpy", "tqdm", "isal"):
            failed.append(f"{name}: {error!r}")
    except Exception as error:
        failed.append(f"{name}: {error!r}")
print("\\n".join(failed))
"""
    done = subprocess.run(
        [pythons[0], "-c", code, *modules.light()], capture_output=True, text=True, cwd=modules.ROOT, check=True
    )
    assert done.stdout.strip() == ""
