"""What ``exec(main.py)`` leaves in its namespace, in order, found without running it.

Kaggle takes the last callable of that namespace as the agent. A dict keeps a name where it was first bound, so a
second ``def agent`` does not move ``agent`` behind a helper. This module follows every top-level statement as if it
ran (both sides of an ``if``); it does not know what imported third-party names are and says "maybe" for them.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Binding", "bindings", "last_callable", "top_level"]

_UNSAFE = {"antigravity", "this", "idlelib", "turtle", "tkinter"}  # importing these does something


@dataclass
class Binding:
    """A top-level name of main.py and what it holds at the end."""

    name: str
    kind: str
    """"def", "class", "lambda", "import", "call", "alias", "value" or "star"."""
    callable: str
    """"yes", "no" or "maybe"."""
    line: int
    node: ast.AST
    defined: list[ast.AST] = field(default_factory=list)
    """Every def or class statement that bound the name, in order."""


def top_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """Every statement that runs while the module is executed, in order, without function and class bodies."""
    pending = list(reversed(tree.body))
    while pending:
        statement = pending.pop()
        yield statement
        inner: list[ast.stmt] = []
        if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            for name in ("body", "handlers", "orelse", "finalbody", "cases"):
                for part in getattr(statement, name, None) or []:
                    inner += [part] if isinstance(part, ast.stmt) else part.body
        pending += reversed(inner)


def bindings(tree: ast.Module) -> list[Binding]:
    """The names of the finished namespace in the order in which the environment sees them.

    >>> [b.name for b in bindings(ast.parse("def agent(o): ...\\ndef help(): ...\\ndef agent(o): ..."))]
    ['agent', 'help']
    """
    names: dict[str, Binding] = {}
    for statement in top_level(tree):
        if isinstance(statement, ast.Delete):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    names.pop(target.id, None)
            continue
        for binding in _bound_by(statement, names):
            earlier = names.get(binding.name)
            if binding.kind in ("def", "class"):
                binding.defined = [*(earlier.defined if earlier else []), binding.node]
            names[binding.name] = binding  # an existing key keeps its position, as in the real namespace
    return list(names.values())


def last_callable(names: list[Binding]) -> Binding | None:
    """The binding that the environment would call: the last one that is, or may be, callable."""
    return next((binding for binding in reversed(names) if binding.callable != "no"), None)


def _bound_by(statement: ast.stmt, names: dict[str, Binding]) -> Iterator[Binding]:
    line = statement.lineno
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
        yield Binding(statement.name, "def", "yes", line, statement)
    elif isinstance(statement, ast.ClassDef):
        yield Binding(statement.name, "class", "yes", line, statement)
    elif isinstance(statement, ast.Import):
        for alias in statement.names:
            yield Binding(alias.asname or alias.name.partition(".")[0], "value", "no", line, statement)
    elif isinstance(statement, ast.ImportFrom):
        for alias in statement.names:
            kind = "star" if alias.name == "*" else "import"
            yield Binding(alias.asname or alias.name, kind, _imported(statement, alias.name), line, statement)
    elif isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)) and statement.value is not None:
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in targets:
            yield from _assigned(target, statement.value, names, line)
    elif isinstance(statement, (ast.For, ast.With)):
        pairs = [statement.target] if isinstance(statement, ast.For) else [i.optional_vars for i in statement.items]
        for target in pairs:
            for node in ast.walk(target) if target is not None else ():
                if isinstance(node, ast.Name):
                    yield Binding(node.id, "value", "no", line, statement)


def _assigned(target: ast.expr, value: ast.expr, names: dict[str, Binding], line: int) -> Iterator[Binding]:
    if isinstance(target, (ast.Tuple, ast.List)):
        same = isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts)
        for index, element in enumerate(target.elts):
            yield from _assigned(element, value.elts[index] if same else ast.Constant(None), names, line)
    elif isinstance(target, ast.Name):
        kind, is_callable = _value(value, names)
        yield Binding(target.id, kind, is_callable, line, value)


def _value(value: ast.expr, names: dict[str, Binding]) -> tuple[str, str]:
    if isinstance(value, ast.Lambda):
        return "lambda", "yes"
    if isinstance(value, ast.Name) and value.id in names:
        return "alias", names[value.id].callable
    if isinstance(value, ast.Call):
        return "call", _call_result(value, names)
    if isinstance(value, ast.Name):  # a builtin, or a name that came by a star import
        return "alias", "yes" if callable(getattr(builtins, value.id, None)) else "maybe"
    if isinstance(value, ast.Attribute):
        root = value
        while isinstance(root, ast.Attribute):
            root = root.value
        of_module = isinstance(root, ast.Name) and isinstance(getattr(names.get(root.id), "node", None), ast.Import)
        return "value", "maybe" if of_module or value.attr[:1].isupper() else "no"
    return "value", "maybe" if isinstance(value, ast.IfExp) else "no"


def _call_result(call: ast.Call, names: dict[str, Binding]) -> str:
    """Is what this call returns callable? Only the well-known factories are sure."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in ("partial", "lru_cache", "cache", "wraps", "make_agent", "namedtuple", "from_pretrained"):
        return "yes"  # models and tokenizers can be called too
    local = names.get(name)
    if local is not None and isinstance(local.node, ast.ClassDef):
        has_call = any(isinstance(n, ast.FunctionDef) and n.name == "__call__" for n in local.node.body)
        return "yes" if has_call else "maybe" if local.node.bases else "no"
    if local is not None and isinstance(local.node, ast.FunctionDef):
        inner = {n.name for n in ast.walk(local.node) if isinstance(n, ast.FunctionDef) and n is not local.node}
        returned = [n.value for n in ast.walk(local.node) if isinstance(n, ast.Return) and n.value is not None]
        return "yes" if any(isinstance(r, ast.Name) and r.id in inner for r in returned) else "no"
    return "no"


def _imported(statement: ast.ImportFrom, name: str) -> str:
    root = (statement.module or "").partition(".")[0]
    if root == "__future__":
        return "no"
    if name == "*" or statement.level:
        return "maybe"
    if root in sys.stdlib_module_names and root not in _UNSAFE:
        try:
            return "yes" if callable(getattr(importlib.import_module(statement.module or ""), name)) else "no"
        except (ImportError, AttributeError):
            return "no"
    return "no" if name.isupper() else "maybe"
