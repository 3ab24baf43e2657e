"""Start and end seat processes: forked from a process that has the environment imported, or as new interpreters.

Both ways give a process that has never seen main.py. Forking saves the import of torch and transformers (10 s and
more) for each seat of each game; it is not used where there is a GPU, since CUDA does not survive a fork.
``ForkServer`` must be made before its caller starts threads.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from submission_builder.playing.isolation import die_with_parent
from submission_builder.playing.memory import process_tree
from submission_builder.playing.seat import SeatSpec, serve

__all__ = ["ForkServer", "Spawner", "describe_exit", "gpus_present", "interpreter", "kill_tree"]


class ForkServer:
    """A child that forks seats on request. The environment must be imported already."""

    def __init__(self, *, close: Sequence[int] = ()) -> None:
        """Fork the server; ``close`` names descriptors that neither it nor a seat may hold."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            for descriptor in close:
                os.close(descriptor)
            with contextlib.suppress(BaseException):
                _serve_forks(theirs)
            os._exit(0)
        theirs.close()
        self._socket, self._stream = ours, ours.makefile("rw", encoding="utf-8")

    def _ask(self, **request):
        self._stream.write(json.dumps(request) + "\n")
        self._stream.flush()
        reply = self._stream.readline()
        if not reply:
            raise RuntimeError("the process that forks seats has died; try start='spawn'")
        return json.loads(reply)

    def start(self, spec: SeatSpec) -> int:
        """Fork a seat; return its process id."""
        return self._ask(start=spec.to_json())

    def poll(self, pid: int) -> int | None:
        """Exit code as in ``subprocess`` (negative: signal); None while it runs."""
        return self._ask(poll=pid)

    def close(self) -> None:
        """End the server and with it every seat."""
        self._stream.close()
        self._socket.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


class Spawner:
    """Starts each seat as a new interpreter, which imports the environment itself."""

    def __init__(self) -> None:
        self._processes: dict[int, subprocess.Popen] = {}

    def start(self, spec: SeatSpec) -> int:
        """Start an interpreter for a seat; return its process id."""
        process = subprocess.Popen(
            [*interpreter("submission_builder.playing.seat"), spec.to_json()], stdin=subprocess.DEVNULL
        )
        self._processes[process.pid] = process
        return process.pid

    def poll(self, pid: int) -> int | None:
        """Exit code (negative: signal); None while it runs."""
        return self._processes[pid].poll()

    def close(self) -> None:
        """Kill every seat that still runs."""
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()


def interpreter(module: str) -> list[str]:
    """Command that calls ``module.main(argument)`` in a new interpreter with our ``sys.path`` and no PYTHONPATH."""
    paths = [str(Path(entry or ".").absolute()) for entry in sys.path]
    code = f"import sys; sys.path[:] = {paths!r}; from {module} import main; main(sys.argv[1])"
    return [sys.executable, "-c", code]


def gpus_present() -> list[str]:
    """Numbers of the NVIDIA devices of this machine, without asking CUDA."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip() and name.strip() != "-1"]
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))


def describe_exit(code: int) -> str:
    """How a process ended, in words.

    >>> describe_exit(-9), describe_exit(3)
    ('was killed by SIGKILL', 'ended itself with exit status 3')
    """
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
        return f"was killed by signal {-code}"
    return f"ended itself with exit status {code}"


def kill_tree(pid: int) -> None:
    """Kill a process and its descendants; those that have ended are no error."""
    for process in process_tree(pid) or [pid]:  # without /proc, at least the process itself
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGKILL)


def _serve_forks(link: socket.socket) -> None:
    """Answer start and poll requests, one line each, until the other side closes."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    children: dict[int, int | None] = {}
    actions: dict[str, Callable] = {"start": lambda text: _fork_seat(text, link), "poll": lambda p: _poll(p, children)}
    stream = link.makefile("rw", encoding="utf-8")
    for line in stream:
        ((action, argument),) = json.loads(line).items()
        reply = actions[action](argument)
        if action == "start":
            children[reply] = None
        stream.write(json.dumps(reply) + "\n")
        stream.flush()
    for pid in children:
        if _poll(pid, children) is None:
            kill_tree(pid)


def _fork_seat(text: str, link: socket.socket) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(link.fileno())
            signal.signal(signal.SIGINT, signal.default_int_handler)
            serve(SeatSpec.from_json(text))
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()  # into the seat's own output file, if it got that far
        finally:
            os._exit(code)
    return pid


def _poll(pid: int, children: dict[int, int | None]) -> int | None:
    if children.get(pid) is None:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            children[pid] = os.waitstatus_to_exitcode(status)
    return children.get(pid)
