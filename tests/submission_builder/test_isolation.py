"""An isolated process reaches loopback only, sees no notebook folders, and finds the archive where Kaggle puts it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from submission_builder.playing.memory import cpu_seconds, memory_of, process_tree

LOOK = """
import encodings.idna, json, os, socket, sys, fcntl
from pathlib import Path
from submission_builder.playing.isolation import enter_namespaces, guard_process
base, user = Path(sys.argv[1]), sys.argv[2] == "user"
if user:
    import ctypes
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, lost with the uid: /proc/self must be writable
found = enter_namespaces(base / "agent", base / "root", keep=[])
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
try:
    socket.create_connection(("192.0.2.1", 80), timeout=5)
    net = "open"
except OSError as error:
    net = os.strerror(error.errno) if error.errno else repr(error)
print(json.dumps({"network": found.network, "files": found.files, "reason": found.reason, "reached": net,
                  "kaggle": os.path.exists("/kaggle") and os.listdir("/kaggle"), "uid": os.getuid(),
                  "agent": os.path.exists("/kaggle_simulations/agent/main.py")}))
"""

GUARD = """
import json, os, socket
from pathlib import Path
from submission_builder.playing.isolation import guard_process
base = Path({base!r})
guard_process(network=True, hidden=[base / "kaggle"], keep=[base / "kaggle" / "keep"])
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
results = []
for what in (lambda: socket.socket().connect(("192.0.2.1", 80)), lambda: socket.getaddrinfo("example.org", 1),
             lambda: open(base / "kaggle" / "input.txt"), lambda: os.listdir(base / "kaggle"),
             lambda: open(base / "kaggle" / "keep" / "ok.txt").read(), lambda: open(base / "other.txt").read(),
             lambda: open(base / "x" / ".." / "kaggle" / "input.txt")):
    try:
        results.append(str(what()))
    except OSError as error:
        results.append(type(error).__name__)
print(json.dumps(results))
"""


def run(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("user", ["self", "user"])
def test_namespaces_close_the_network_and_hide_kaggle(tmp_path_factory, user):
    """As we are, and as an ordinary user; where the system refuses, the reason is given."""
    if user == "user" and os.geteuid() != 0:
        pytest.skip("only root can become another user")
    base = tmp_path_factory.mktemp("open") if user == "self" else Path(tempfile.mkdtemp())  # pytest's own is 0700
    for folder in (base, base / "agent", base / "root"):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)
    (base / "agent" / "main.py").write_text("x = 1\n")
    seen = json.loads(run(LOOK, str(base), user))
    if seen["network"] != "namespace":
        assert seen["reason"]
        pytest.skip(seen["reason"])
    assert seen["reached"] == "Network is unreachable"
    if seen["files"] == "namespace":
        assert seen["kaggle"] == []
        assert seen["agent"] is True
    assert not Path("/kaggle_simulations/agent/main.py").exists(), "the mounts must not leave the process"
    assert list((base / "root").iterdir()) == []
    shutil.rmtree(base)


def test_guard_refuses_network_and_hidden_folders_to_python(tmp_path):
    (tmp_path / "kaggle" / "keep").mkdir(parents=True)
    for name in ("kaggle/input.txt", "kaggle/keep/ok.txt", "other.txt"):
        (tmp_path / name).write_text("content")
    results = json.loads(run(GUARD.format(base=str(tmp_path))))
    assert results == ["OSError", "gaierror", "FileNotFoundError", "FileNotFoundError", "content", "content",
                       "FileNotFoundError"]  # fmt: skip


def test_memory_and_time_of_a_process_tree_are_seen():
    """What a child of the seat allocates counts as the seat's."""
    child = "x = bytearray(b'1') * 150_000_000; print(flush=True); input()"
    code = f"import subprocess as s, sys; s.Popen([sys.executable, '-c', {child!r}], stdin=s.PIPE); input()"
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        parent.stdout.readline()  # the child has its memory
        assert len(process_tree(parent.pid)) == 2
        assert 150e6 < memory_of(parent.pid).anonymous < 400e6
        assert cpu_seconds(parent.pid) > 0
    finally:
        parent.communicate(b"\n")
    time.sleep(0.05)
    assert process_tree(parent.pid) == []
    assert memory_of(parent.pid).resident == 0
