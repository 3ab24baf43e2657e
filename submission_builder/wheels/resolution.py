"""Which wheels an image lacks for some requirements, as pip resolves them, with nothing there replaced by accident.

What the image has in a version that its list does not say is taken to satisfy everybody, and named as assumed. It does
not know whether the image's own packages agree with one another.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from submission_builder.wheels.image_pip import ImagePip, PipError, PipSources
from submission_builder.wheels.images import Image, canonical
from submission_builder.wheels.target import Target

__all__ = ["Needed", "Resolution", "ResolutionError", "find_missing"]


class ResolutionError(ValueError):
    """No set of wheels does it; the text says who asks for what, and what can be changed."""


@dataclass(frozen=True)
class Needed:
    """One wheel that pip would install."""

    name: str
    version: str
    file: str
    sha256: str
    required_by: tuple[str, ...]
    """Names of the packages that ask for it; empty for what was asked for by name."""


@dataclass(frozen=True)
class Resolution:
    """What is missing, and what the image is taken to have."""

    needed: tuple[Needed, ...]
    replaced: dict[str, str]
    """Name -> version in the image ("" where unknown) of what would be replaced, because it was asked for."""
    assumed: dict[str, str]
    """Name -> version that would do, of what the image has in a version that its list does not say."""
    warnings: tuple[str, ...]


def find_missing(
    requirements: Sequence[str], image: Image, target: Target, *, sources: PipSources | None = None,
    replace: Sequence[str] = (), without_dependencies: Sequence[str] = (),
) -> Resolution:  # fmt: skip
    """Ask pip what must be added to the image for ``requirements``.

    Args:
        requirements: what is wanted ("bm25s>=0.2", or the path of a wheel with extras).
        image: what is there.
        target: Python and platform.
        sources: where pip looks for wheels.
        replace: names of packages of the image that may be replaced by other versions.
        without_dependencies: pinned requirements ("kaggle-environments==1.18.0") that are wanted as they are, whatever
            the image has, and without what they ask for.

    Raises:
        ResolutionError: versions conflict, a wheel is missing, or there is only a source distribution.
    """
    freed = {canonical(name) for name in replace}
    unknown = sorted(freed - set(image.versions) - image.unversioned)
    if unknown:
        raise ResolutionError(f"{image.name} has no {', '.join(unknown)} that could be replaced")
    installed = {name: version for name, version in image.versions.items() if name not in freed}
    loose, assumed = image.unversioned - freed, {}
    sources = sources or PipSources()
    while True:  # each round settles packages of unknown version, whose own needs then fall away
        with ImagePip({**installed, **assumed}, target, sources) as pip:
            report, warnings = _ask(pip, requirements, image) if requirements else ([], [])
        there = {_name(entry): entry["metadata"]["version"] for entry in report if _name(entry) in loose}
        if not there:
            break
        assumed.update(there)
    with ImagePip({}, target, sources) as pip:
        alone = _ask(pip, without_dependencies, image, "--no-deps")[0] if without_dependencies else []
    names = {_name(entry) for entry in alone}
    needed = [_needed(entry, report) for entry in report if _name(entry) not in names] + [_needed(e, []) for e in alone]
    replaced = {
        n.name: image.versions.get(n.name, "") for n in needed if n.name in {*image.versions, *image.unversioned}
    }
    return Resolution(
        tuple(sorted(needed, key=lambda n: n.name)), replaced, dict(sorted(assumed.items())), tuple(warnings)
    )


def _ask(pip: ImagePip, requirements: Sequence[str], image: Image, *options: str) -> tuple[list[dict], list[str]]:
    try:
        return pip.report(requirements, *options)
    except PipError as failure:
        raise ResolutionError(_explain(failure, image, pip.target)) from failure


def _name(entry: dict) -> str:
    return canonical(entry["metadata"]["name"])


def _needed(entry: dict, report: list[dict]) -> Needed:
    name = _name(entry)
    parents = [
        _name(other)
        for other in report
        if any(canonical(re.split(r"[^\w.-]", text, maxsplit=1)[0]) == name
               for text in other["metadata"].get("requires_dist", ()))
    ]  # fmt: skip
    download = entry["download_info"]
    return Needed(
        name, entry["metadata"]["version"], download["url"].rsplit("/", 1)[-1].replace("%2B", "+"),
        download.get("archive_info", {}).get("hashes", {}).get("sha256", ""), tuple(sorted(set(parents) - {name})),
    )  # fmt: skip


def _explain(failure: PipError, image: Image, target: Target) -> str:
    """Say what pip said, why it took none of the files there, and what of the image stands against it."""
    text = failure.errors
    lines = [
        f"nothing can be added to {image.name} (Python {target.short_python}, {target.platforms[0]}) that does this:"
    ]
    text = text.replace("The user requested (constraint)", "The image has")
    lines += [f"  {line.strip()}" for line in text.splitlines() if line.strip()]
    words = {canonical(word) for word in re.findall(r"[A-Za-z][\w.-]*\w", text)}
    frozen = sorted(words & set(image.versions))
    if "conflict" in text and frozen:
        held = ", ".join(f"{name} {image.versions[name]}" for name in frozen)
        options = " ".join(f"--replace {name}" for name in frozen)
        lines.append(f"  the image has {held}. Leave out the extra that needs more, or replace on purpose: {options}")
    for name in re.findall(r"No matching distribution found for ([\w.-]+)", text):
        reasons = failure.skipped.get(canonical(name), [])
        sources = [reason for reason in reasons if "No sources permitted" in reason]
        if reasons and len(sources) == len(reasons):
            lines.append(f"  {name} exists only as source ({sources[-1].split(':')[0]}): build its wheel on a machine "
                         "like the target (pip wheel) and give its folder with --find-links")  # fmt: skip
        elif reasons:
            lines.append(f"  {name} has no wheel for this Python and platform; there are: "
                         + ", ".join(reason.split(": ")[0] for reason in reasons[-4:]))  # fmt: skip
    return "\n".join(lines)
