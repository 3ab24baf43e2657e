"""The README says what is true: its commands exist, CI runs them, and its file tree is the real one."""

from __future__ import annotations

import re
import subprocess

import modules
import pytest

README = (modules.ROOT / "README.md").read_text(encoding="utf-8")


def _tracked() -> set[str]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached"],
        capture_output=True,
        text=True,
        cwd=modules.ROOT,
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    return {line for line in listing.stdout.splitlines() if (modules.ROOT / line).exists()}


def _tree() -> dict[str, set[str]]:
    """Folder -> its entries as the README's tree lists them; a folder listed without entries is not opened."""
    block = re.search(r"```text\n(.*?)```", README, flags=re.DOTALL)
    assert block, "README has no ```text file tree"
    folders: dict[str, set[str]] = {"": set()}
    stack = [""]
    for line in block.group(1).splitlines():
        names = re.split(r"\s{2,}", line.strip())[0]
        depth = (len(line) - len(line.lstrip())) // 2
        del stack[depth + 1 :]
        for name in names.split():
            folders.setdefault(stack[depth], set()).add(name.rstrip("/"))
            if name.endswith("/"):
                stack.append(f"{stack[depth]}{name}")
    return folders


def test_file_tree_is_the_real_tree():
    tracked = _tracked()
    for folder, listed in _tree().items():
        real = {path[len(folder) :].split("/")[0] for path in tracked if path.startswith(folder)} - {"__init__.py"}
        assert listed == real, f"{folder or 'root'}: only in README {listed - real}, missing in README {real - listed}"


def test_commands_exist_and_ci_runs_them():
    makefile = (modules.ROOT / "Makefile").read_text()
    ci = (modules.ROOT / ".ci" / "run").read_text()
    for command in ("demo", "test"):
        assert f"make {command}" in README
        assert re.search(rf"^{command}:", makefile, flags=re.MULTILINE)
        assert re.search(rf"^make {command}$", ci, flags=re.MULTILINE)


def test_links_point_at_files():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (modules.ROOT / target).exists(), f"README links to {target}"


def test_no_figure_without_a_script():
    """Every benchmark that RESULTS.md quotes is a script here with its full result beside it."""
    results = modules.ROOT / "benchmarks" / "RESULTS.md"
    for name in re.findall(r"benchmarks/(\w+)\.py", results.read_text(encoding="utf-8")):
        assert (modules.ROOT / "benchmarks" / f"{name}.py").is_file()
        assert (modules.ROOT / "benchmarks" / "results" / f"{name}.json").is_file()
