"""Read main.py as Kaggle will execute it and name what goes wrong, before anything runs.

The rules are those of ``kaggle_environments.agent.get_last_callable``: an empty namespace (no ``__file__``, no
``__name__ == "__main__"``), the last callable is the agent, the folder is on ``sys.path`` only while the file loads.
A finding that is certain is an error, one that depends on things the text does not show is a warning. Nothing of
main.py is executed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection

from submission_builder.linting.lint_rules import text_rules
from submission_builder.linting.namespace import Binding, bindings, last_callable, top_level
from submission_builder.linting.problem import Problem, sort_problems

__all__ = ["lint_main"]

_MAGIC = re.compile(r"^[ \t]*(?:!|%%?)[ \t]*(\w+)", re.MULTILINE)
_NO_CODE = {"partial": "functools.partial objects", "lru_cache": "cached functions", "cache": "cached functions"}
_STAR_WRAPPERS = {"no_grad", "inference_mode", "enable_grad", "retry", "wraps"}


def lint_main(source: str, *, siblings: Collection[str] = ()) -> list[Problem]:
    """Return the problems of a main.py, errors first.

    Args:
        source: the text of main.py.
        siblings: names of the modules and packages that lie beside it in the archive (``{"helpers"}``).

    >>> print(lint_main("def agent(obs): return 'no'\\ndef helper(): pass")[0].message)
    the environment calls 'helper' (line 2) instead of 'agent' (line 1): the last callable of main.py is the agent
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        return [_syntax_problem(source, error)]
    names = bindings(tree)
    found = [*_order(names), *_agent_shape(tree, names), *_duplicates(tree, names), *text_rules(tree, siblings)]
    return sort_problems(found)


def _problem(severity: str, line: int | None, message: str, fix: str) -> Problem:
    return Problem("main.py", severity, message, fix, line)


def _syntax_problem(source: str, error: Exception) -> Problem:
    magic = _MAGIC.search(source)
    line = getattr(error, "lineno", None)
    if magic and line == source.count("\n", 0, magic.start(1)) + 1:
        return _problem(
            "error",
            line,
            f"{magic.group().strip()!r} is notebook syntax, not Python",
            "remove it; wheels and weights travel inside the archive",
        )
    return _problem("error", line, f"does not parse: {getattr(error, 'msg', error)}", "correct the syntax")


def _order(names: list[Binding]) -> list[Problem]:
    last = last_callable(names)
    agent = next((b for b in names if b.name == "agent"), None)
    if last is None or (agent is None and last.callable == "maybe" and last.kind in ("import", "star")):
        return [
            _problem(
                "error", None, "no function in main.py can be the agent", "define agent(obs, cfg) as the last function"
            )
        ]
    if agent is None or last is agent:
        return []
    after = [b for b in names[names.index(agent) + 1 :] if b.callable != "no"]
    sure = [b for b in after if b.callable == "yes"]
    shown = (sure or after)[-1]
    where = f"{shown.name!r} (line {shown.line}) instead of 'agent' (line {agent.line})"
    fix = f"move {shown.name!r} above agent, or end main.py with: _agent = agent; del agent; agent = _agent"
    if sure:
        return [
            _problem(
                "error", shown.line, f"the environment calls {where}: the last callable of main.py is the agent", fix
            )
        ]
    return [_problem("warning", shown.line, f"if it is callable, the environment calls {where}", fix)]


def _agent_shape(tree: ast.Module, names: list[Binding]) -> list[Problem]:
    """The chosen callable must have a ``__code__`` that takes one or two positional arguments."""
    agent = next((b for b in names if b.name == "agent"), None) or last_callable(names)
    if agent is None:
        return []
    node = agent.node
    if agent.kind == "class":
        return [
            _problem(
                "error",
                agent.line,
                f"{agent.name!r} is a class; the environment needs a function (it reads __code__)",
                "write def agent(obs, cfg): return robot(obs, cfg)",
            )
        ]
    if isinstance(node, ast.Call):
        return _called(agent, node, tree)
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return [*_signature(node), *_decorators(node, tree)]
    return []


def _called(agent: Binding, call: ast.Call, tree: ast.Module) -> list[Problem]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    classes = {n.name for n in top_level(tree) if isinstance(n, ast.ClassDef)}
    if name in _NO_CODE or name in classes:
        what = _NO_CODE.get(name, f"instances of {name}")
        return [
            _problem(
                "error",
                agent.line,
                f"{agent.name!r} is made by {name}(): {what} have no __code__, every turn fails",
                "write def agent(obs, cfg): return ...(obs, cfg)",
            )
        ]
    return []


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[Problem]:
    arguments, found = node.args, []
    positional = [*arguments.posonlyargs, *arguments.args]
    required = len(positional) - len(arguments.defaults)
    needs_keyword = [a.arg for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is None]
    if required > 2 or needs_keyword:
        found.append(f"takes {required} arguments{' and keywords' if needs_keyword else ''}; it is given two")
    if arguments.vararg and not positional:
        found.append("takes only *args: the environment counts named arguments and calls it with none")
    if isinstance(node, ast.AsyncFunctionDef):
        found.append("is async: the environment would get a coroutine instead of a reply")
    elif any(isinstance(n, (ast.Yield, ast.YieldFrom)) for n in _own_nodes(node)):
        found.append("contains yield: the environment would get a generator instead of a reply")
    return [_problem("error", node.lineno, f"{node.name}() {text}", "write def agent(obs, cfg)") for text in found]


def _own_nodes(function: ast.AST):
    pending = list(ast.iter_child_nodes(function))
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            pending += ast.iter_child_nodes(node)


def _decorators(node: ast.FunctionDef | ast.AsyncFunctionDef, tree: ast.Module) -> list[Problem]:
    """A wrapper with ``*args`` has ``co_argcount`` 0, so it is called without arguments."""
    local = {n.name: n for n in top_level(tree) if isinstance(n, ast.FunctionDef)}
    found = []
    for decorator in node.decorator_list:
        call = decorator.func if isinstance(decorator, ast.Call) else decorator
        name = call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "")
        inner = [n for n in ast.walk(local[name]) if isinstance(n, ast.FunctionDef)][1:] if name in local else []
        if name in _NO_CODE:
            text, severity = f"@{name} returns an object without __code__", "error"
        elif name in _STAR_WRAPPERS or any(n.args.vararg and not n.args.args for n in inner):
            text, severity = f"@{name} wraps it as (*args, **kwargs), so it is called without arguments", "error"
        elif not inner:
            text, severity = f"@{name} may hide its arguments (a wrapper with *args is called with none)", "warning"
        else:
            continue
        fix = "leave agent undecorated and call the decorated function inside it"
        found.append(_problem(severity, node.lineno, f"{node.name}(): {text}", fix))
    return found


def _duplicates(tree: ast.Module, names: list[Binding]) -> list[Problem]:
    repeated = [b for b in names if len(b.defined) > 1 and not _conditional(tree, b)]
    if not repeated:
        return []
    same = [b for b in repeated if ast.dump(b.defined[0]) == ast.dump(b.defined[-1])]
    shown = ", ".join(f"{b.name} (lines {', '.join(str(n.lineno) for n in b.defined)})" for b in repeated)
    if same:
        return [
            _problem(
                "error",
                same[0].defined[-1].lineno,
                f"defined twice with the same body: {shown}; a %%writefile -a cell was run again and appended itself",
                "write main.py in one go",
            )
        ]
    severity = "error" if any(b.name == "agent" for b in repeated) else "warning"
    return [
        _problem(
            severity,
            repeated[0].defined[-1].lineno,
            f"defined more than once: {shown}; the last body runs, in the place of the first",
            "keep one definition of each",
        )
    ]


def _conditional(tree: ast.Module, binding: Binding) -> bool:
    """Alternatives of one ``if`` or ``try`` are not duplicates."""
    return sum(1 for node in binding.defined if node in tree.body) < 2
