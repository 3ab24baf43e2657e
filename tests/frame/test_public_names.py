"""``__all__`` of every module equals its public top-level names."""

from __future__ import annotations

import ast

import modules
import pytest


def _defined(body: list[ast.stmt]) -> set[str]:
    names: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def _all(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and [getattr(t, "id", None) for t in node.targets] == ["__all__"]:
            return list(ast.literal_eval(node.value))
    return None


@pytest.mark.parametrize(
    "module", [n for n, path in modules.files().items() if path.name not in ("__init__.py", "__main__.py")]
)
def test_all_equals_public_names(module):
    tree = modules.tree(modules.files()[module])
    declared = _all(tree)
    assert declared is not None, f"{module} has no __all__"
    assert len(declared) == len(set(declared))
    public = {n for n in _defined(tree.body) if not n.startswith("_")}
    assert set(declared) == public, (
        f"{module}: only in __all__ {set(declared) - public}, missing {public - set(declared)}"
    )


@pytest.mark.parametrize("module", list(modules.files()))
def test_every_module_says_what_it_is(module):
    tree = modules.tree(modules.files()[module])
    assert ast.get_docstring(tree), f"{module} has no docstring"
    missing = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not missing, f"{module}: no docstring on {missing}"
