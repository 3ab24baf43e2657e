"""A folder of wheels to attach as a Kaggle dataset: ours, and exactly those that a named image lacks.

pip resolves them against the image's packages, and downloads them with the digests of that resolution. The folder
appears whole or not at all. It is flat, as Kaggle's datasets like it, and the same input gives the same files.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tqdm.auto import tqdm

from submission_builder.wheels.image_pip import ImagePip, PipError, PipSources
from submission_builder.wheels.images import Image, canonical, load_image
from submission_builder.wheels.manifest import MANIFEST, REQUIREMENTS, Manifest, WheelFile, file_digest, read_manifest
from submission_builder.wheels.own_wheel import make_own_wheel, wheel_facts
from submission_builder.wheels.resolution import Needed, find_missing
from submission_builder.wheels.target import Target, make_target

__all__ = ["ALONE", "build_wheelhouse"]

ALONE = {"game": "kaggle-environments==1.18.0"}
"""Extra -> what it needs beside its requirements: the last release that holds llm_20_questions, without the 90 packages
that it asks for and the game does not need; it replaces a newer one of the image."""
_KEPT = {"dataset-metadata.json"}  # another command's file: it survives a new build


def build_wheelhouse(
    image: str | Path | Image, out: str | Path, *, extras: Sequence[str] = ("llm",), python: str | None = None,
    platform: str | None = None, replace: Sequence[str] = (), also: Sequence[str] = (),
    sources: PipSources | None = None, progress: bool = False,
) -> Manifest:  # fmt: skip
    """Write the folder ``out``; its time is that of the downloads, and a few seconds to resolve.

    Args:
        image: name of a shipped image, a freeze list's path, or an image.
        out: folder to write; an older wheelhouse there is replaced, anything else refused.
        extras: extras of our package that must work there.
        python: Python of the target, such as "3.12" (default: the image's).
        platform: newest platform tag that it runs (default: the image's).
        replace: names of packages of the image that may be replaced.
        also: further pinned packages to add, without what they ask for ("kaggle-environments==1.18.0").
        sources: where pip looks; the default is its own configuration.
        progress: show a bar while wheels are downloaded.

    Returns:
        The manifest, as it lies in the folder.

    Raises:
        ValueError: arguments are wrong, or no set of wheels does it (``ResolutionError``).
        RuntimeError: our own wheel cannot be built, or a download failed.
        OSError: the folder cannot be written.
    """
    image = image if isinstance(image, Image) else load_image(image)
    target, out, sources = make_target(image, python=python, platform=platform), Path(out), sources or PipSources()
    _refuse_strangers(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.parent))
    try:
        own = make_own_wheel(staging)
        facts = wheel_facts(own)
        extras = _known_extras(extras, facts.get_all("Provides-Extra") or [])
        alone = [*also, *(ALONE[extra] for extra in ("game",) if {extra, "all"} & set(extras))]
        wanted = f"{own}[{','.join(extras)}]" if extras else str(own)
        found = find_missing(
            [wanted], image, target, sources=sources, replace=replace, without_dependencies=list(dict.fromkeys(alone))
        )
        others = [needed for needed in found.needed if needed.file != own.name]
        _download(others, staging, target, sources, progress)
        manifest = Manifest(
            package=canonical(facts["Name"]), version=facts["Version"], extras=tuple(extras), image=image.name,
            image_sha256=image.sha256, python=target.python, platforms=target.platforms, image_versions=image.versions,
            wheels=tuple(_wheel_file(needed, staging) for needed in found.needed),
            without_dependencies=tuple(canonical(text.partition("==")[0]) for text in dict.fromkeys(alone)),
            replaced=found.replaced, assumed=found.assumed, warnings=found.warnings,
        )  # fmt: skip
        (staging / REQUIREMENTS).write_text(manifest.to_requirements(), encoding="utf-8")
        (staging / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        _put_in_place(staging, out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return manifest


def _refuse_strangers(out: Path) -> None:
    """Only an empty folder or an unchanged set of our own files may be replaced."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; name a folder")
    there = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if not there - _KEPT:
        return
    ours = {MANIFEST, REQUIREMENTS, *_KEPT}
    if MANIFEST in there:
        ours |= {wheel.file for wheel in read_manifest(out).wheels}
    strangers = sorted(there - ours)
    if strangers:
        raise ValueError(f"{out} holds what is not of a wheelhouse ({', '.join(strangers[:5])}); name another folder")


def _known_extras(extras: Sequence[str], known: Sequence[str]) -> list[str]:
    wanted = list(dict.fromkeys(extra.strip() for extra in extras if extra.strip()))
    unknown = [extra for extra in wanted if canonical(extra) not in {canonical(name) for name in known}]
    if unknown:
        raise ValueError(f"there is no extra {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
    return sorted(wanted)


def _download(wheels: Sequence[Needed], folder: Path, target: Target, sources: PipSources, progress: bool) -> None:
    """One by one, each against its digest; a wheel of another machine is only stored, never run."""
    if not wheels:
        return
    with ImagePip({}, target, sources) as pip, tqdm(wheels, unit="wheel", disable=not progress) as bar:
        for needed in bar:
            bar.set_description(needed.name)
            digest = f" --hash=sha256:{needed.sha256}" if needed.sha256 else ""
            pin = pip.folder / "pin.txt"
            pin.write_text(f"{needed.name}=={needed.version}{digest}\n", encoding="utf-8")
            try:
                pip.run("download", "--no-deps", "--dest", str(folder), "--requirement", str(pin))
            except PipError as failure:
                raise RuntimeError(f"{needed.file} could not be downloaded: {failure}") from failure


def _wheel_file(needed: Needed, folder: Path) -> WheelFile:
    path = folder / needed.file
    if not path.is_file():
        there = ", ".join(sorted(p.name for p in folder.glob("*.whl")))
        raise RuntimeError(f"pip resolved {needed.file}, and downloaded something else; there are {there}")
    return WheelFile(
        needed.name, needed.version, needed.file, file_digest(path), path.stat().st_size, needed.required_by
    )


def _put_in_place(staging: Path, out: Path) -> None:
    """Rename; an older wheelhouse moves aside first and is back if that fails."""
    staging.chmod(0o755)
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.old-", dir=out.parent))
    try:
        if out.is_dir():
            for name in _KEPT:
                if (out / name).is_file():
                    shutil.copy2(out / name, staging / name)
            out.replace(aside / "old")
        try:
            staging.replace(out)
        except OSError:
            if (aside / "old").is_dir():
                (aside / "old").replace(out)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
