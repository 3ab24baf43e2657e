"""Importing the light core costs nothing heavy, and the arrows between the rooms keep their direction."""

from __future__ import annotations

import json
import subprocess
import sys

import modules
import pytest

HEAVY = [
    "torch",
    "transformers",
    "pandas",
    "sklearn",
    "peft",
    "bitsandbytes",
    "accelerate",
    "datasets",
    "kaggle_environments",
    "matplotlib",
    "flask",
    "bm25s",
    "sentence_transformers",
    "ray",
]

# DESIGN's table: a room may import these rooms of ours. Everybody may import `_optional` and the package's version.
ALLOWED = {
    "_commands": set(),
    "_optional": set(),
    "environment": set(),
    "cluster": set(),
    "chat": {"environment"},
    "data": {"chat"},
    "retrieval": {"chat"},
    "models": {"environment"},
    "inference": {"models", "data", "chat", "cluster"},
    "training": {"models", "data", "chat", "cluster"},
    "q20": {"chat", "retrieval", "cluster"},
    "doctor": {"environment", "models"},
}

# A command puts parts together for a person: `arena --model` may load a model, which games and players know nothing of.
COMMANDS = {"kaggle_utils.q20.commands.arena": {"inference"}}


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=modules.ROOT
    ).stdout


def test_importing_every_light_module_loads_nothing_heavy():
    names = modules.light()
    assert len(names) > 20, names
    imports = "; ".join(f"import {name}" for name in names)
    code = f"import sys, json; {imports}; print(json.dumps(sorted(set({HEAVY!r}) & set(sys.modules))))"
    assert json.loads(run(code)) == []


def test_heavy_modules_import_without_torch_too():
    """A module may need torch to work, never to be imported: an error at import hides which call needed what."""
    names = [n for n in modules.files() if n not in (*modules.light(), *modules.KERNELS)]
    code = (
        "import sys\nfor name in ('torch', 'transformers', 'peft', 'bitsandbytes'): sys.modules[name] = None\n"
        + "\n".join(f"import {n}" for n in names)
    )
    run(code)


@pytest.mark.parametrize("module", ["kaggle_utils.q20.agent", "submission_builder.cli"])
def test_light_entry_points_import_quickly(module):
    code = f"import time; start = time.process_time(); import {module}; print(time.process_time() - start)"
    seconds = []  # of processor time: others may be using the cores too
    while len(seconds) < 3 and min(seconds, default=9.0) >= 1.2:
        seconds.append(float(run(code)))
    assert min(seconds) < 1.2, f"importing {module} took {min(seconds):.2f} s at best of three"


@pytest.mark.parametrize("module", [n for n in modules.files() if n.startswith("kaggle_utils.")])
def test_rooms_import_only_what_the_design_allows(module):
    room = module.split(".")[1]
    used = {
        name.split(".")[1]
        for name in modules.imported(modules.files()[module], module)
        if name.startswith("kaggle_utils.") and len(name.split(".")) > 1
    }
    allowed = ALLOWED[room] | COMMANDS.get(module, set())
    extra = used - allowed - {room, "_optional", "__version__"}
    assert not extra, f"{module} imports {sorted(extra)}; it may import {sorted(allowed)}"


@pytest.mark.parametrize("module", [n for n in modules.files() if n.startswith("submission_builder")])
def test_builder_imports_nothing_of_kaggle_utils(module):
    used = [n for n in modules.imported(modules.files()[module], module) if n.split(".")[0] == "kaggle_utils"]
    assert not used, f"{module} imports {used}; the builder copies kaggle_utils as files"
