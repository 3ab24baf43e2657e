"""A Ray cluster for a block: one that is started here, or one that runs.

It promises that a cluster which it started is gone after the block, however the block ends. On other machines this
package must be installed as well; the folders of this process' own modules are searched there too, where they exist.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from kaggle_utils._optional import require

__all__ = ["connected"]

# No word to the makers, and a task that asks for no GPU sees none, where this process starts the workers.
_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}
_PROBE_SECONDS = 10.0


@contextmanager
def connected(address: str | None = "local", *, num_cpus: int | None = None) -> Iterator[ModuleType]:
    """Connect this process to a Ray cluster for the block and give the module ``ray``.

    A connection that is there already is used and left alone. Starting a cluster takes 6 to 9 seconds on two cores,
    joining one takes 2. Workers' prints stay in Ray's logs; that one died is told on standard error.

    Args:
        address: "local" starts a cluster on this machine, for the block only. "auto" joins the one of the environment
            variable RAY_ADDRESS, else the one that runs on this machine; "host:6379" joins that one from a machine of
            it; "ray://host:10001" joins one from outside, with ray[client] on both sides. None joins as "auto" does,
            and starts one where there is none.
        num_cpus: of a cluster that is started; by default the cores of the machine.

    Raises:
        ModuleNotFoundError: ray is not installed.
        ConnectionError: nothing answers at the address, or what does is not for us: another Ray, or a token is missing.
        ValueError: an address of another form, or ``num_cpus`` for a cluster that is joined.
    """
    ray = require("ray", extra="cluster")
    if ray.is_initialized():
        yield ray
        return
    _check_address(address, num_cpus)
    before = signal.getsignal(signal.SIGTERM)  # ray.init sets one of its own
    try:
        with _interrupts_later():  # or what ray has begun to start could stay behind
            _connect(ray, address, num_cpus)
        yield ray
    finally:
        with _interrupts_later():
            ray.shutdown()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _connect(ray: ModuleType, address: str | None, num_cpus: int | None) -> None:
    """Call ``ray.init`` so that it says nothing and its workers find the modules that this process finds."""
    from ray.job_config import JobConfig

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None or "://" not in address:  # the others are for a client's server to decide
        folders = [path for path in map(os.path.abspath, sys.path) if Path(path).is_dir()]
        own = [path for path in folders if not path.startswith((sys.prefix, sys.base_prefix))]
        options |= {"include_dashboard": False, "job_config": JobConfig(_py_driver_sys_path=own)}
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        ray.init(address, num_cpus=num_cpus, **options)
    except ConnectionError as error:
        if address == "auto":
            raise _nothing_at(address, error) from error
        raise ConnectionError(
            f"something listens at {address!r}, but as a Ray cluster it cannot be joined ({error}). It must run Ray "
            f"{ray.__version__}, as here. If it asks for a token, as those do that were started where there is one, "
            "set RAY_AUTH_MODE=token here, and RAY_AUTH_TOKEN or ~/.ray/auth_token to its token"
        ) from error


def _check_address(address: str | None, num_cpus: int | None) -> None:
    """Say at once what is wrong; Ray itself tries for a minute."""
    if address in ("auto", None) and os.environ.get("RAY_ADDRESS"):
        address = os.environ["RAY_ADDRESS"]
    if num_cpus is not None and address not in ("local", None):
        raise ValueError(f"num_cpus={num_cpus} is for a cluster that is started here; {address!r} has its own")
    if address in ("local", "auto", None):
        return
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"cluster address {address!r}: expected local, auto, host:6379 or ray://host:10001")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_SECONDS).close()
    except OSError as error:
        raise _nothing_at(address, error) from error


def _nothing_at(address: str | None, error: Exception) -> ConnectionError:
    return ConnectionError(
        f"no Ray cluster answers at {address!r} ({error}); start one with `ray start --head`, join it on further "
        "machines with `ray start --address=HOST:6379`, or use the address local"
    )


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Hold Ctrl-C back for the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler if before is None else before)
        if held and callable(before):
            before(held[0], None)
