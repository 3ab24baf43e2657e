"""A root file system like that of a Kaggle notebook without network, out of this machine's own files.

``/kaggle/input`` is read-only, ``/kaggle/working`` a small tmpfs, there is no interface but loopback, and the
checkout's packages are hidden. The image is a folder of links to the packages beside the tests, without those that a
test takes away.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib import metadata
from pathlib import Path

__all__ = ["MISSING", "image_folder", "namespaces", "run_there", "write_freeze"]

ROOT = Path(__file__).resolve().parents[1]
MISSING = ("kaggle-notebook-utils", "isal", "kaggle-environments")
"""What the simulated image lacks, though the tests' own environment has it."""

_SCRIPT = r"""
set -e
mount --make-rprivate /
mount -t tmpfs none "$NEW_ROOT"
for entry in /*; do
    name="$NEW_ROOT$entry"
    if [ -L "$entry" ]; then cp -P "$entry" "$name"
    elif [ "$entry" = /kaggle ]; then :
    elif [ -d "$entry" ]; then mkdir "$name"; mount --rbind "$entry" "$name"
    elif [ -f "$entry" ]; then touch "$name"; mount --bind "$entry" "$name"; fi
done
for package in kaggle_utils submission_builder; do mount -t tmpfs none "$NEW_ROOT$CHECKOUT/$package"; done
mkdir -p "$NEW_ROOT/kaggle/input" "$NEW_ROOT/kaggle/working" "$NEW_ROOT/kaggle/temp"
mount -t tmpfs none "$NEW_ROOT/kaggle/input"
cp -rL "$INPUT"/. "$NEW_ROOT/kaggle/input"
mount -o remount,ro "$NEW_ROOT/kaggle/input"
mount -t tmpfs -o "size=$WORKING_SIZE" none "$NEW_ROOT/kaggle/working"
exec chroot "$NEW_ROOT" /bin/sh -c 'cd /kaggle/working && exec "$@"' there "$@"
"""


def namespaces() -> list[str] | None:
    """Return the command that gives a process its own network and mounts, or None where that is refused."""
    for command in (["unshare", "-n", "-m"], ["unshare", "-r", "-n", "-m"]):
        try:
            mount = ["mount", "-t", "tmpfs", "none", tempfile.gettempdir()]
            probe = subprocess.run([*command, *mount], capture_output=True)
        except FileNotFoundError:
            return None
        if not probe.returncode:
            return command
    return None


def image_folder(folder: Path) -> Path:
    """Link everything of this environment's site-packages into ``folder``, without ``MISSING``."""
    site = Path(sysconfig.get_paths()["purelib"])
    hidden = {file.parts[0] for name in MISSING for file in metadata.distribution(name).files or () if file.parts}
    folder.mkdir()
    for entry in site.iterdir():
        if entry.name not in hidden and entry.suffix != ".pth" and "kaggle_notebook_utils" not in entry.name:
            (folder / entry.name).symlink_to(entry)
    return folder


def write_freeze(image: Path, path: Path) -> Path:
    """Write what ``pip freeze`` would print in the image."""
    found = {d.metadata["Name"]: d.version for d in metadata.distributions(path=[str(image)])}
    header = f"# python: {sys.version_info[0]}.{sys.version_info[1]}\n"
    path.write_text(header + "".join(f"{name}=={version}\n" for name, version in sorted(found.items())))
    return path


def run_there(
    command: list[str], *, given: Path, new_root: Path, working_size: str, environment: dict[str, str]
) -> subprocess.CompletedProcess:
    """Run ``command`` in ``/kaggle/working``, with what lies in ``given`` attached at ``/kaggle/input``."""
    new_root.mkdir()
    variables = {
        "PATH": f"{Path(shutil.which('unshare')).parent}:/usr/sbin:/usr/bin:/sbin:/bin", "NEW_ROOT": str(new_root),
        "INPUT": str(given), "WORKING_SIZE": working_size, "CHECKOUT": str(ROOT), **environment,
    }  # fmt: skip
    return subprocess.run(
        [*namespaces(), "/bin/sh", "-c", _SCRIPT, "sh", *command], capture_output=True, text=True, env=variables
    )
