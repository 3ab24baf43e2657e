"""What a wheelhouse says about itself: ``wheelhouse.json`` for programs, ``requirements.txt`` for pip.

``pip install --no-deps -r FOLDER/requirements.txt`` installs exactly these files, checked against their digests: the
file says where the wheels are (beside it) and that nothing else may be asked.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from submission_builder.packing.units import format_size

__all__ = ["MANIFEST", "REQUIREMENTS", "Manifest", "WheelFile", "file_digest", "read_manifest"]

MANIFEST = "wheelhouse.json"
REQUIREMENTS = "requirements.txt"
_FORMAT = 1


@dataclass(frozen=True)
class WheelFile:
    """One wheel in the folder."""

    name: str
    version: str
    file: str
    sha256: str
    size: int
    """In bytes."""
    required_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """Everything that ``check`` needs, and nothing that differs between two runs over the same input."""

    package: str
    version: str
    extras: tuple[str, ...]
    image: str
    image_sha256: str
    python: str
    platforms: tuple[str, ...]
    image_versions: dict[str, str]
    """All packages that the image's list names with a version."""
    wheels: tuple[WheelFile, ...]
    without_dependencies: tuple[str, ...] = ()
    """Names of wheels that were asked for as they are, without what they ask for."""
    replaced: dict[str, str] = field(default_factory=dict)
    """Name -> version in the image ("" where unknown), of what the wheels replace on purpose."""
    assumed: dict[str, str] = field(default_factory=dict)
    """Name -> version that would do, of what the image has in a version that its list does not say."""
    warnings: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all wheels."""
        return sum(wheel.size for wheel in self.wheels)

    @property
    def wanted(self) -> str:
        """Our package with its extras, pinned, as a requirement."""
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        return f"{self.package}{extras}=={self.version}"

    def to_json(self) -> str:
        """As ``wheelhouse.json``."""
        return json.dumps({"format": _FORMAT, **asdict(self), "size": self.size}, indent=1) + "\n"

    def to_requirements(self) -> str:
        """As ``requirements.txt``."""
        lines = [
            f"# {self.wanted} and what {self.image} (Python {self.python}) lacks for it; install without the network:",
            f"#   pip install --no-deps -r {REQUIREMENTS}",
            "--no-index",
            "--find-links .",
            *(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}" for wheel in self.wheels),
        ]
        return "\n".join(lines) + "\n"

    def to_text(self) -> str:
        """The size report, and what a person should know."""
        width = max(len(wheel.file) for wheel in self.wheels)
        lines = [f"{self.wanted} for {self.image} (Python {self.python}, {self.platforms[0]})", ""]
        for wheel in sorted(self.wheels, key=lambda wheel: -wheel.size):
            why = f"for {', '.join(wheel.required_by)}" if wheel.required_by else "asked for"
            lines.append(f"  {format_size(wheel.size):>8}  {wheel.file:<{width}}  {why}")
        lines.append(f"  {format_size(self.size):>8}  {len(self.wheels)} wheels")
        for name, version in self.replaced.items():
            lines.append(f"replaces {name} {version or '(version unknown)'} of the image, as asked")
        if self.assumed:
            names = ", ".join(f"{name} (such as {version})" for name, version in self.assumed.items())
            lines.append(f"assumed to be recent enough in the image, whose list does not say: {names}")
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read ``wheelhouse.json``.

    Raises:
        ValueError: there is none, or it is of another format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError(f"{folder} is no wheelhouse: it has no {MANIFEST}; make one: submission-builder wheelhouse")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts.pop("format") != _FORMAT:
            raise ValueError("another format")
        facts.pop("size")
        facts["wheels"] = tuple(
            WheelFile(**{**wheel, "required_by": tuple(wheel["required_by"])}) for wheel in facts["wheels"]
        )
        lists = ("extras", "platforms", "without_dependencies", "warnings")
        manifest = Manifest(**{**facts, **{name: tuple(facts[name]) for name in lists}})
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a manifest of this version of submission-builder ({error})") from None
    odd = [w.file for w in manifest.wheels if w.file != Path(w.file).name or not w.file.endswith(".whl")]
    if odd:
        raise ValueError(f"{path} names files that are no wheels in its folder: {odd}")
    return manifest
