"""What is installed in an image of Kaggle: its packages, Python and platform, read from a freeze list.

Named images are shipped as data (``submission_builder/data/images``); a file that ``pip freeze`` wrote does as well. A
list is what was once published about an image, not the image: ``notes`` say what it does not know.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

__all__ = ["Image", "canonical", "image_names", "load_image", "parse_image"]

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_HEADER = re.compile(r"#\s*(title|python|platform|licence|source|note):\s*(.+)")


@dataclass(frozen=True)
class Image:
    """The packages of one image."""

    name: str
    """"kaggle-2026", or the file's name."""
    versions: dict[str, str]
    """Canonical name -> installed version, local part included ("2.10.0+cu128")."""
    unversioned: frozenset[str] = frozenset()
    """Canonical names of what is installed in a version that the list does not say."""
    python: str = ""
    """"3.12" or "3.12.13"; empty where the list does not say."""
    platform: str = ""
    """Newest platform tag that it runs ("manylinux_2_35_x86_64"); empty where the list does not say."""
    title: str = ""
    notes: tuple[str, ...] = ()
    """Sentences for people: what works there, what the list does not know."""
    sha256: str = field(default="", compare=False)
    """Digest of the list."""


def canonical(name: str) -> str:
    """
    Return a package's name as indexes compare it.

    >>> canonical("Huggingface_Hub")
    'huggingface-hub'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def image_names() -> list[str]:
    """Names of the shipped images."""
    return sorted(entry.name[:-4] for entry in _shipped().iterdir() if entry.name.endswith(".txt"))


def load_image(name_or_file: str | Path) -> Image:
    """Read a shipped image by name, or a freeze list from a file.

    Raises:
        ValueError: neither; or the file has lines that name no package.
    """
    text, name = str(name_or_file), Path(name_or_file).name
    if text in image_names():
        return parse_image((_shipped() / f"{text}.txt").read_text(encoding="utf-8"), name=text)
    path = Path(name_or_file)
    if not path.is_file():
        raise ValueError(
            f"{text!r} is neither an image ({', '.join(image_names())}) nor a file; "
            "write one in a notebook on Kaggle: pip freeze > image.txt"
        )
    return parse_image(path.read_text(encoding="utf-8"), name=name)


def parse_image(text: str, *, name: str) -> Image:
    """Read a freeze list: ``NAME==VERSION`` one or several a line, ``NAME @ URL``, comments, ``# python: 3.12``.

    Raises:
        ValueError: lines that name no package, all of them; or no package at all.

    >>> image = parse_image("# python: 3.12\\ntorch==2.10.0+cu128 Flask\\nspacy-en @ file:///spacy_en-3.8-py3-none-any.whl",
    ...                     name="own")
    >>> image.versions, sorted(image.unversioned), image.python
    ({'torch': '2.10.0+cu128', 'spacy-en': '3.8'}, ['flask'], '3.12')
    """
    header: dict[str, list[str]] = {}
    versions, unversioned, bad = {}, set(), []
    for line in text.splitlines():
        if match := _HEADER.match(line):
            header.setdefault(match[1], []).append(match[2].strip())
        for package, version in _packages(line):
            if package is None:
                bad.append(line.strip())
            elif version:
                versions[package] = version
            else:
                unversioned.add(package)
    if bad or not (versions or unversioned):
        shown = "".join(f"\n  {line}" for line in bad[:10]) or " it is empty"
        raise ValueError(f"{name} is no freeze list (NAME==VERSION lines, as pip freeze writes them):{shown}")
    one = {key: " ".join(values) for key, values in header.items()}
    return Image(
        name=name, versions=versions, unversioned=frozenset(unversioned - set(versions)),
        python=one.get("python", ""), platform=one.get("platform", ""), title=one.get("title", ""),
        notes=tuple(_sentences(header.get("note", []))), sha256=hashlib.sha256(text.encode()).hexdigest(),
    )  # fmt: skip


def _shipped() -> Path:
    return Path(str(resources.files("submission_builder"))) / "data" / "images"


def _packages(line: str) -> Iterator[tuple[str | None, str]]:
    """Yield (canonical name or None for what is no package, version or "")."""
    line = re.sub(r"(^|\s)#.*", "", line).strip()
    if not line or line.startswith("--"):
        return
    if match := re.fullmatch(rf"({_NAME})(?:\[.*\])?\s+@\s+(\S+)", line):
        yield canonical(match[1]), _version_in(match[2], match[1])
        return
    if line.startswith(("-e ", "git+", "file:")):
        egg = re.search(r"#egg=([\w.-]+)|/([\w.-]+?)(?:\.git)?$", line)
        yield (canonical(egg[1] or egg[2]), "") if egg else (None, "")
        return
    for word in line.split():
        match = re.fullmatch(rf"({_NAME})(?:\[.*\])?(?:==([^\s,;=]+)|(?:[<>!~=]=|[<>]).*)?", word)
        yield (canonical(match[1]), match[2] or "") if match else (None, "")


def _version_in(url: str, name: str) -> str:
    """Return the version in a wheel's file name."""
    parts = url.partition("#")[0].rsplit("/", 1)[-1].split("-")
    return parts[1] if parts[-1].endswith(".whl") and len(parts) >= 5 and canonical(parts[0]) == canonical(name) else ""


def _sentences(notes: list[str]) -> Iterator[str]:
    """Join lines that go on: a note begins with a capital and the one before it ended."""
    joined = ""
    for note in notes:
        if joined.endswith(".") and note[:1].isupper():
            yield joined
            joined = note
        else:
            joined = f"{joined} {note}".strip()
    if joined:
        yield joined
