"""Take the network and Kaggle's notebook folders away from this process and everything it starts.

On Linux it uses namespaces: as root, or as an ordinary user where user namespaces are allowed. The archive then also
lies at ``/kaggle_simulations/agent``, as on Kaggle. Where the system refuses (most containers), a Python audit hook
refuses the same things in the seats; native code can pass that one. It does not limit memory, time or the GPU.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["AGENT_DIR", "HIDDEN", "Isolation", "die_with_parent", "enter_namespaces", "guard_process"]

AGENT_DIR = Path("/kaggle_simulations/agent")
"""Where Kaggle unpacks a submission."""
HIDDEN = Path("/kaggle")
"""A notebook's inputs and outputs lie below it; an agent's machine has neither."""

_NEWNS, _NEWUSER, _NEWNET = 0x00020000, 0x10000000, 0x40000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_PDEATHSIG, _SIGKILL = 1, 9
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


@dataclass(frozen=True)
class Isolation:
    """What could be taken away, for the report."""

    network: str
    """"namespace" (no interface but loopback) or "python" (audit hook)."""
    files: str
    """"namespace" (/kaggle hidden, archive at /kaggle_simulations/agent) or "python" (audit hook)."""
    reason: str = ""
    """Why a namespace was not used."""


def enter_namespaces(agent: Path, new_root: Path, *, keep: Iterable[Path] = ()) -> Isolation:
    """Move this single-threaded process into its own network and mount namespaces.

    Args:
        agent: folder of the unpacked archive; it appears at ``AGENT_DIR``.
        new_root: an empty folder on which the new file tree is put together (seen only by this process).
        keep: paths that must stay visible even below ``HIDDEN`` (interpreter, packages, logs).

    Returns:
        What was achieved; a refusal by the system is not an error. Call it before any thread is started.
    """
    if not sys.platform.startswith("linux"):
        return Isolation("python", "python", f"{sys.platform} has no namespaces")
    try:
        _unshare(_NEWNET)
        _loopback_up()
    except OSError as error:
        return Isolation("python", "python", f"namespaces are not allowed here ({error})")
    try:
        _call("unshare", _NEWNS)
        _change_root(agent, new_root, [Path(path) for path in keep])
    except OSError as error:
        return Isolation("namespace", "python", f"mounts are not allowed here ({error})")
    return Isolation("namespace", "namespace")


def guard_process(*, network: bool, hidden: Sequence[Path] = (), keep: Sequence[Path] = ()) -> None:
    """Refuse connections beyond loopback, and the ``hidden`` folders, to Python code in this process, for good.

    Args:
        network: refuse the network.
        hidden: folders that seem to be absent, except for what lies below ``keep``.
        keep: folders that stay readable.
    """
    shut, opened = _prefixes(hidden), _prefixes(keep)

    def hook(event: str, arguments: tuple) -> None:
        if network and event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            host = arguments[1][0] if isinstance(arguments[1], tuple) and arguments[1] else "127.0.0.1"
            if str(host) not in ("127.0.0.1", "::1", "localhost"):
                raise OSError(errno.ENETUNREACH, f"no network for an agent (tried {host})")
        elif network and event == "socket.getaddrinfo":
            if arguments[0] not in (None, "", "127.0.0.1", "::1", "localhost", b"127.0.0.1", b"localhost"):
                raise socket.gaierror(socket.EAI_AGAIN, f"no network for an agent (tried {arguments[0]!r})")
        elif shut and event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], (str, bytes)):
            path = os.path.join(os.path.abspath(os.fsdecode(arguments[0])), "")  # noqa: PTH100, PTH118 - hot path
            if path.startswith(shut) and not path.startswith(opened):
                raise FileNotFoundError(errno.ENOENT, "not on the agent's machine", path.rstrip("/"))

    sys.addaudithook(hook)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, however that happens (Linux only)."""
    with contextlib.suppress(OSError, AttributeError):
        _call("prctl", _PDEATHSIG, _SIGKILL, 0, 0, 0)


def _prefixes(paths: Iterable[Path]) -> tuple[str, ...]:
    return tuple(os.path.join(path, "") for path in paths)  # noqa: PTH118 - with the slash at the end


def _call(name: str, *arguments) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def _unshare(flags: int) -> None:
    """Unshare as we are, or inside a new user namespace in which we may."""
    try:
        _call("unshare", flags)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        user, group = os.getuid(), os.getgid()
        _call("unshare", flags | _NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _loopback_up() -> None:
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14s", b"lo", 0, b"")
        flags = struct.unpack("16sH14s", fcntl.ioctl(sock, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", flags | _IFF_UP, b""))


def _mount(source: str, target: Path, kind: str, flags: int) -> None:
    _call("mount", source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), None)


def _bind(source: Path, target: Path) -> None:
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    _mount(str(source), target, "", _MS_BIND | _MS_REC)


def _change_root(agent: Path, new_root: Path, keep: list[Path]) -> None:
    """Build a tree of bind mounts like ours, without /kaggle and with the archive in its place; make it the root."""
    here = Path.cwd()
    _mount("none", Path("/"), "", _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", new_root, "tmpfs", 0)
    for entry in sorted(Path("/").iterdir()):
        target = new_root / entry.name
        if entry.is_symlink():
            target.symlink_to(entry.readlink())
        elif entry not in (HIDDEN, AGENT_DIR.parent) and (entry.is_dir() or entry.is_file()):
            _bind(entry, target)
    (new_root / HIDDEN.name).mkdir()
    for path in keep:
        if HIDDEN in path.parents:
            _bind(path, new_root / path.relative_to("/"))
    _bind(agent, new_root / AGENT_DIR.relative_to("/"))
    os.chroot(new_root)
    os.chdir(here if here.is_dir() else "/")
