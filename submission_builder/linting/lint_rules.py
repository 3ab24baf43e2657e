"""The rules of the linter that look at single expressions of main.py: names, calls, imports and strings.

Each rule is a generator over the syntax tree. They know what Kaggle's machine lacks (network, ``__file__``, attached
inputs, the folder on ``sys.path`` after loading), not what main.py means to do.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

from submission_builder.linting.namespace import top_level
from submission_builder.linting.problem import Problem

__all__ = ["text_rules"]

_FOLDER = "os.path.dirname(inspect.currentframe().f_code.co_filename)"
_DOWNLOADS = {"snapshot_download", "hf_hub_download", "model_download", "dataset_download", "urlopen", "urlretrieve"}


def text_rules(tree: ast.Module, siblings: Collection[str]) -> list[Problem]:
    """Apply every rule to a parsed main.py."""
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = [*_dunder_names(tree, parents), *_imports(tree, parents, set(siblings)), *_paths(tree, parents)]
    return [*found, *_calls(tree, parents)]


def _problem(severity: str, node: ast.AST, message: str, fix: str) -> Problem:
    return Problem("main.py", severity, message, fix, getattr(node, "lineno", None))


def _above(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> Iterator[ast.AST]:
    while node in parents:
        node = parents[node]
        yield node


def _dunder_names(tree: ast.Module, parents: dict[ast.AST, ast.AST]) -> Iterator[Problem]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "__file__" and isinstance(node.ctx, ast.Load):
            if not _guarded(node, parents):
                yield _problem(
                    "error", node, "uses __file__, which does not exist when Kaggle executes main.py", f"use {_FOLDER}"
                )
        elif isinstance(node, ast.If) and _is_main_test(node.test):
            yield _problem(
                "warning",
                node,
                'if __name__ == "__main__" is never true on Kaggle (__name__ is "builtins")',
                "move what the agent needs out of it",
            )


def _is_main_test(test: ast.expr) -> bool:
    if not isinstance(test, ast.Compare):
        return False
    parts = [test.left, *test.comparators]
    return any(isinstance(p, ast.Name) and p.id == "__name__" for p in parts) and any(
        isinstance(p, ast.Constant) and p.value == "__main__" for p in parts
    )


def _guarded(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    """Inside ``try: ... except NameError``, or behind a test for the name."""
    below = node
    for above in _above(node, parents):
        if isinstance(above, ast.Try) and below in above.body:
            caught = {n.id for h in above.handlers if h.type for n in ast.walk(h.type) if isinstance(n, ast.Name)}
            if not all(h.type for h in above.handlers) or caught & {"NameError", "Exception", "BaseException"}:
                return True
        if isinstance(above, (ast.If, ast.IfExp)) and below is not above.test:
            strings = {n.value for n in ast.walk(above.test) if isinstance(n, ast.Constant)}
            if "__file__" in strings:
                return True
        below = above
    return False


def _imports(tree: ast.Module, parents: dict[ast.AST, ast.AST], siblings: set[str]) -> Iterator[Problem]:
    keeps_path = any(_is_path_call(node, "insert") for node in _loading_nodes(tree))
    run_at_load = {n.func.id for n in _loading_nodes(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield _problem(
                "error",
                node,
                "relative import: main.py belongs to no package on Kaggle",
                "import the module by its plain name",
            )
        elif isinstance(node, (ast.Import, ast.ImportFrom)) and not keeps_path:
            functions = [a for a in _above(node, parents) if isinstance(a, (ast.FunctionDef, ast.AsyncFunctionDef))]
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            late = sorted({m.partition(".")[0] for m in modules} & siblings)
            if late and functions:
                severity = "warning" if functions[-1].name in run_at_load else "error"
                yield _problem(
                    severity,
                    node,
                    f"imports {late[0]!r} from beside main.py inside {functions[0].name}(): "
                    "the folder is taken off sys.path once main.py has loaded",
                    f"import it at the top, or sys.path.insert(0, {_FOLDER})",
                )
    for node in _loading_nodes(tree):
        if _is_path_call(node, "append"):
            yield _problem(
                "warning",
                node,
                "sys.path.append at the top is undone after loading (the environment pops the last entry)",
                "use sys.path.insert(0, ...)",
            )


def _loading_nodes(tree: ast.Module) -> Iterator[ast.AST]:
    """Nodes of statements that run while main.py loads, without function bodies."""
    for statement in top_level(tree):
        if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            for name, value in ast.iter_fields(statement):
                if name not in ("body", "handlers", "orelse", "finalbody", "cases"):
                    for part in value if isinstance(value, list) else [value]:
                        yield from ast.walk(part) if isinstance(part, ast.AST) else ()


def _is_path_call(node: ast.AST, method: str) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == f"sys.path.{method}"


def _paths(tree: ast.Module, parents: dict[ast.AST, ast.AST]) -> Iterator[Problem]:
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            continue
        if isinstance(parents.get(node), ast.Expr):  # a docstring
            continue
        for folder in ("/kaggle/input", "/kaggle/working"):
            if node.value.startswith(folder):
                yield _problem(
                    "warning",
                    node,
                    f"{node.value[:80]!r}: {folder} does not exist where the agent runs",
                    "put the files into the archive and look beside main.py",
                )


def _calls(tree: ast.Module, parents: dict[ast.AST, ast.AST]) -> Iterator[Problem]:
    loading = set(_loading_nodes(tree))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func) if isinstance(node.func, (ast.Name, ast.Attribute)) else ""
        first = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
        yield from _network(node, name, first)
        if name in ("signal.signal", "signal.alarm", "signal.setitimer") and not _in_try(node, parents):
            yield _problem(
                "warning",
                node,
                f"{name}() fails: the environment runs the agent in a worker thread",
                "use a thread with a timeout",
            )
        if name == "torch.set_grad_enabled" and node in loading:
            yield _problem(
                "warning",
                node,
                "torch.set_grad_enabled at the top holds only for the thread that loads "
                "main.py; later turns run in others",
                "use torch.inference_mode() inside agent",
            )
        if name == "open" and isinstance(first, str) and not first.startswith("/"):
            yield _problem(
                "warning",
                node,
                f"open({first!r}): the working directory is not the archive's folder",
                f"join it to {_FOLDER}",
            )


def _in_try(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    return any(isinstance(above, ast.Try) for above in _above(node, parents))


def _network(node: ast.Call, name: str, first: object) -> Iterator[Problem]:
    method = name.rpartition(".")[2]
    if name.startswith(("subprocess.", "os.system", "os.popen")) or method in ("check_call", "check_output", "Popen"):
        words = " ".join(str(n.value) for a in node.args for n in ast.walk(a) if isinstance(n, ast.Constant))
        if "pip" in words.split() and "install" in words.split() and "--no-index" not in words:
            yield _problem(
                "error",
                node,
                "runs pip install, and there is no network where the agent runs",
                "pack the wheels' contents into the archive (pip install -t lib ...)",
            )
    elif method in _DOWNLOADS or name.startswith(("requests.", "httpx.")):
        yield _problem(
            "warning", node, f"{name}(): there is no network where the agent runs", "put the file into the archive"
        )
    elif method == "from_pretrained" and isinstance(first, str) and not first.startswith("/"):
        what = "a repository on the hub" if first.count("/") == 1 and not first.startswith(".") else "a relative path"
        yield _problem(
            "warning",
            node,
            f"from_pretrained({first!r}) is {what}: there is no network, and the working "
            "directory is not the archive's folder",
            f"pass a folder below {_FOLDER}",
        )
