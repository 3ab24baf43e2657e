#!/usr/bin/env python3
"""Write ``docs/api/*.md`` from the docstrings of both packages: one file a package, read as text, nothing imported.

Run it after changing a docstring or a signature; a test holds that the pages are up to date:

    python scripts/api_reference.py
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["api_pages", "main"]

ROOT = Path(__file__).resolve().parent.parent
FOLDER = "docs/api"
_SECTIONS = ("Args", "Returns", "Raises", "Yields", "Attributes", "Example", "Examples", "Note")
_LONGEST_VALUE = 90
_NOTE = "Written by `scripts/api_reference.py` from the docstrings; change those, then run it."


def api_pages(root: Path = ROOT) -> dict[str, str]:
    """Path below ``root`` -> Markdown, of every page of the reference."""
    pages: dict[str, list[tuple[str, ast.Module]]] = {}
    for name, path in _modules(root):
        pages.setdefault(_page_of(name), []).append((name, ast.parse(path.read_text(encoding="utf-8"))))
    written = {f"{FOLDER}/{page}.md": _page(page, modules) for page, modules in pages.items()}
    rows = [f"| [{page}]({page}.md) | {_first_line(modules[0][1])} |" for page, modules in pages.items()]
    index = ["# API reference", "", _NOTE, "", "| package | what it is |", "|---|---|", *rows, ""]
    return {f"{FOLDER}/index.md": "\n".join(index), **written}


def main() -> int:
    """Write what differs and say so; pages of packages that are gone are removed."""
    pages = api_pages()
    for path in (ROOT / FOLDER).glob("*.md"):
        if f"{FOLDER}/{path.name}" not in pages:
            path.unlink()
            print(f"removed {FOLDER}/{path.name}")
    for name, text in pages.items():
        target = ROOT / name
        if target.is_file() and target.read_text(encoding="utf-8") == text:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(target)
        print(f"wrote {name}")
    return 0


def _modules(root: Path) -> Iterator[tuple[str, Path]]:
    """Dotted name and file of every public module."""
    for package in ("kaggle_utils", "submission_builder"):
        for path in sorted((root / package).rglob("*.py"), key=lambda p: p.with_suffix("").parts):
            parts = path.relative_to(root).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            if "templates" not in parts and not any(part.startswith("_") for part in parts):
                yield ".".join(parts), path


def _page_of(module: str) -> str:
    parts = module.split(".")
    rooms = ("environment",)  # a module of its own has its page with the package
    return ".".join(parts[:2]) if parts[0] == "kaggle_utils" and len(parts) > 1 and parts[1] not in rooms else parts[0]


def _page(page: str, modules: Sequence[tuple[str, ast.Module]]) -> str:
    """One page: what the package says of itself, a list of its modules, then each."""
    modules = sorted(modules, key=lambda item: (item[0] != page, item[0]))
    lines = [
        f"# {page}",
        "",
        f"{_NOTE} Other packages: [index](index.md).",
        "",
        *_text(ast.get_docstring(modules[0][1])),
    ]
    rest = [(name, tree) for name, tree in modules if name != page and (_public(tree) or ast.get_docstring(tree))]
    if rest:
        lines += ["| module | what it promises |", "|---|---|"]
        lines += [
            f"| [{name.removeprefix(page + '.')}](#{_anchor(name)}) | {_first_line(tree)} |" for name, tree in rest
        ]
        lines.append("")
    for name, tree in rest:
        lines += [f"## {name}", "", *_text(_module_docstring(tree))]
        for node, about in _public(tree):
            lines += _member(node, about)
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip()
    return f"{text}\n"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _module_docstring(tree: ast.Module) -> str:
    """As it is written: cleaning would take an indented example for prose where nothing else follows the first line."""
    return (ast.get_docstring(tree, clean=False) or "").strip()


def _first_line(tree: ast.Module) -> str:
    paragraph = (ast.get_docstring(tree) or "").split("\n\n")[0].replace("\n", " ")
    return _inline(re.split(r"(?<=\.)\s+(?=[A-Z`])", paragraph)[0]).replace("|", "\\|")


def _public(tree: ast.Module) -> list[tuple[ast.stmt, str | None]]:
    """The nodes that define the names of ``__all__``, in the order of the file, and a constant's docstring."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and [getattr(t, "id", None) for t in node.targets] == ["__all__"]:
            names = set(ast.literal_eval(node.value))
    found = []
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        own = {getattr(node, "name", None)}
        if isinstance(node, ast.Assign):
            own = {n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)}
        elif isinstance(node, ast.AnnAssign):
            own = {getattr(node.target, "id", None)}
        if own & names:
            found.append((node, _string(after)))
    return found


def _string(node: ast.stmt | None) -> str | None:
    value = getattr(node, "value", None) if isinstance(node, ast.Expr) else None
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None


def _member(node: ast.stmt, about: str | None) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [f"### {node.name}", "", *_signature(node), *_text(ast.get_docstring(node))]
    if isinstance(node, ast.ClassDef):
        return _class(node)
    name = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target).strip("()")  # type: ignore
    return [f"### {name}", "", f"`{name} = {_short(node.value)}`", "", *_text(about)]  # type: ignore[attr-defined]


def _class(node: ast.ClassDef) -> list[str]:
    """Docstring, fields with theirs, public methods with theirs."""
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    lines = [f"### {node.name}", "", f"`class {node.name}{f'({bases})' if bases else ''}`", ""]
    lines += _text(ast.get_docstring(node))
    for part, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(part, ast.AnnAssign) and not ast.unparse(part.target).startswith("_"):
            default = f" = {_short(part.value)}" if part.value is not None else ""
            said = _inline(" ".join((_string(after) or "").split()))
            written = f"`{ast.unparse(part.target)}: {ast.unparse(part.annotation)}{default}`"
            lines.append(f"- {written}: {said}" if said else f"- {written}")
    lines.append("")
    for part in node.body:
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
            wanted = not part.name.startswith("_") or (part.name == "__init__" and ast.get_docstring(part))
            if wanted and ast.get_docstring(part):
                lines += [f"#### {node.name}.{part.name}", "", *_signature(part), *_text(ast.get_docstring(part))]
    return lines


def _short(value: ast.expr | None) -> str:
    text = ast.unparse(value) if value is not None else ""
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 4]} ..."


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """The call in a fence, on lines of its own where it is long."""
    given = ast.unparse(node.args)
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    if any(isinstance(d, ast.Name) and d.id in ("property", "cached_property") for d in node.decorator_list):
        return [f"`{node.name}{result.replace(' -> ', ': ')}` (property)", ""]
    line = f"{node.name}({given}){result}"
    if len(line) > 110:
        each = _arguments(node.args)
        line = f"{node.name}(\n" + "".join(f"    {text},\n" for text in each) + f"){result}"
    return ["```text", line, "```", ""]


def _arguments(args: ast.arguments) -> list[str]:
    """Each argument as it would be written; a lone ``*`` before those that need their name."""
    plain = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(plain) - len(args.defaults)) + list(args.defaults)
    texts = [_argument(a, d) for a, d in zip(plain, defaults, strict=True)]
    if args.posonlyargs:
        texts.insert(len(args.posonlyargs), "/")
    if args.vararg:
        texts.append(f"*{_argument(args.vararg, None)}")
    elif args.kwonlyargs:
        texts.append("*")
    texts += [_argument(a, d) for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    return texts + ([f"**{_argument(args.kwarg, None)}"] if args.kwarg else [])


def _argument(arg: ast.arg, default: ast.expr | None) -> str:
    text = f"{arg.arg}: {ast.unparse(arg.annotation)}" if arg.annotation else arg.arg
    return text if default is None else f"{text}{' = ' if arg.annotation else '='}{_short(default)}"


def _text(docstring: str | None) -> list[str]:
    """A docstring as Markdown: sections become lists, examples and indented parts become fences."""
    lines: list[str] = []
    for block in re.split(r"\n\s*\n", docstring or ""):
        rows = block.splitlines()
        section = rows[0].rstrip(":") if rows and rows[0].endswith(":") else ""
        if rows and rows[0].lstrip().startswith(">>>"):
            lines += ["```pycon", *rows, "```", ""]
        elif section in _SECTIONS:
            lines += [f"**{section}**", "", *_entries(rows[1:]), ""]
        elif rows and (all(row.startswith("    ") for row in rows) or rows[0].startswith(("from ", "import "))):
            lines += ["```text", *textwrap.dedent(block).splitlines(), "```", ""]
        else:
            lines += [*_paragraph(rows), ""]
    return lines


def _paragraph(rows: Sequence[str]) -> list[str]:
    """Lines of prose; a list's items stay lines of their own."""
    return [_inline(row.strip() if not row.lstrip().startswith(("- ", "* ")) else row.lstrip()) for row in rows]


def _entries(rows: Sequence[str]) -> list[str]:
    """Items of a section: a line at its depth begins one where it has a name, and goes on where it has not."""
    items: list[str] = []
    for row in rows:
        named = re.match(r"    ([\w.*`, ]+): (.*)", row)
        if named and not row.startswith("     "):
            items.append(f"- `{named[1].strip('`')}`: {named[2]}")
        elif items:
            items[-1] += f" {row.strip()}"
        else:
            items.append(f"- {row.strip()}")
    return [_inline(item) for item in items]


def _inline(text: str) -> str:
    """reST's roles and double backticks as Markdown's; nothing outside code is read as HTML."""
    text = re.sub(r":\w+:`~?([^`]+)`", lambda found: f"`{found[1]}`", text).replace("``", "`")
    parts = text.split("`")
    return "`".join(part if i % 2 else part.replace("<", "&lt;") for i, part in enumerate(parts))


if __name__ == "__main__":
    sys.exit(main())
