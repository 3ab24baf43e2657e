"""Every module of the two packages, with its source; what the frame tests read."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("kaggle_utils", "submission_builder")
# Modules of these rooms may need torch, transformers or pandas; all others are the light core, and so are those below.
HEAVY_ROOMS = ("kaggle_utils.models", "kaggle_utils.inference", "kaggle_utils.training")
LIGHT_IN_HEAVY_ROOMS = tuple(
    f"kaggle_utils.{name}"
    for name in ("models.device_map", "models.memory", "models.shapes", "models.pipeline", "models.rooms",
                 "inference.store", "inference.ensemble", "inference.placement", "inference.tta",
                 "inference.answer_rules", "inference.answer_rows", "inference.answer_text", "inference.answer_page",
                 "inference.answer_plots", "inference.grade_prompt", "inference.grading",
                 "inference.reference_scores", "inference.answers", "inference.answer_store",
                 "inference.decoding_row", "inference.byte_automaton", "inference.cache_plan",
                 "inference.token_bytes", "inference.deadline", "inference.background", "inference.prompt_budget",
                 "training.folds", "training.metrics", "training.kfold_settings", "training.kfold_result",
                 "training.fold_batches", "training.fold_checkpoints", "training.fold_bars", "training.run_files")
)  # fmt: skip
# Kernels are compiled from a module's own globals, so these import torch at the top and are imported on use only.
KERNELS = tuple(
    f"kaggle_utils.models.{name}_triton"
    for name in ("disentangled_backward", "disentangled_forward", "gated", "paged", "softmax")
)


@cache
def files() -> dict[str, Path]:
    """Dotted module name -> file, of every module except templates, which are data."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            inside = path.relative_to(ROOT / package).parts
            if "templates" in inside or path.name == "__main__.py":
                continue
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def light() -> list[str]:
    """The modules that must import without torch, transformers and pandas, on Python 3.10."""
    return [
        name
        for name in files()
        if name in LIGHT_IN_HEAVY_ROOMS
        or name in HEAVY_ROOMS
        or not name.startswith(tuple(f"{r}." for r in HEAVY_ROOMS))
    ]


@cache
def tree(path: Path) -> ast.Module:
    """The parsed source."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def imported(path: Path, module: str) -> set[str]:
    """Full names of everything that a file imports, at any depth, relative imports resolved."""
    names: set[str] = set()
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            names.update(f"{source}.{alias.name}" for alias in node.names)
    return names
