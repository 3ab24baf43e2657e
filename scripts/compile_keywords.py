"""Compile ``kaggle_utils/q20/data/keywords.json`` out of the wheels of kaggle-environments.

Downloads the wheels (or takes a folder of them with --wheels), reads ``keywords.py`` inside each as data, never as
code, and writes every keyword with the versions that hold it. Running it again writes the same bytes.

    python scripts/compile_keywords.py
    python scripts/compile_keywords.py --wheels /path/with/both/wheels --output keywords.json
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

__all__ = ["VERSIONS", "compile_keywords", "main", "read_wheel"]

VERSIONS = ("1.14.15", "1.18.0")
"""The last version with places, and the last version with the environment."""

OUTPUT = Path(__file__).resolve().parent.parent / "kaggle_utils" / "q20" / "data" / "keywords.json"
MEMBER = "kaggle_environments/envs/llm_20_questions/keywords.py"


def read_wheel(wheel: Path) -> list[dict]:
    """Return the list of ``{"category", "words": [{"keyword", "alts"}]}`` that the wheel ships."""
    with zipfile.ZipFile(wheel) as archive:
        module = ast.parse(archive.read(MEMBER).decode("utf-8"))
    for node in module.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "KEYWORDS_JSON":
            return json.loads(ast.literal_eval(node.value))
    raise ValueError(f"{wheel}: no KEYWORDS_JSON in {MEMBER}; is it a version with llm_20_questions?")


def compile_keywords(lists: Iterable[tuple[str, list[dict]]]) -> list[dict]:
    """Merge ``(version, list)`` pairs: one row for each keyword, category and set of other names, sorted."""
    rows: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for version, categories in lists:
        for category in categories:
            for entry in category["words"]:
                key = (entry["keyword"], category["category"], tuple(entry["alts"]))
                versions = rows.setdefault(key, [])
                if version not in versions:
                    versions.append(version)
    return [
        {"word": word, "category": category, "alts": list(alts), "versions": versions}
        for (word, category, alts), versions in sorted(rows.items(), key=lambda row: (row[0][1], row[0]))
    ]


def download(version: str, folder: Path) -> Path:
    """Download one wheel without its dependencies and return its path."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([*command, "--dest", str(folder), f"kaggle-environments=={version}"], check=True)
    return find(version, folder)


def find(version: str, folder: Path) -> Path:
    """Return the wheel of ``version`` in ``folder``."""
    found = sorted(folder.glob(f"kaggle_environments-{version}-*.whl"))
    if not found:
        raise FileNotFoundError(f"no wheel of kaggle-environments {version} in {folder}; pip download puts one there")
    return found[0]


def write(rows: list[dict], output: Path) -> None:
    """Write the rows, one a line, under a temporary name first."""
    head = {
        "source": "kaggle-environments " + ", ".join(VERSIONS) + ", " + MEMBER,
        "copyright": "Copyright Kaggle Inc, Apache License 2.0",
    }
    lines = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in rows)
    text = json.dumps(head, ensure_ascii=False)[:-1] + ', "keywords": [\n' + lines + "\n]}\n"
    temporary = output.with_name(output.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(output)


def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheels", type=Path, help="folder that holds the wheels already (default: download them)")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        pairs = []
        for version in VERSIONS:
            wheel = find(version, options.wheels) if options.wheels else download(version, Path(temporary))
            pairs.append((version, read_wheel(wheel)))
    rows = compile_keywords(pairs)
    write(rows, options.output)
    print(f"{options.output}: {len(rows)} keywords")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
