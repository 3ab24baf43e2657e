"""A real Ray cluster of several nodes on this machine, for tests that lose one and get another.

Nodes are raylets of their own with their own workers and object stores, as on several machines; what differs is that
they share a disk and a network card. Starting one takes three seconds.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from fake_scorers import NumpyScorer

__all__ = ["LocalCluster", "PacedScorer", "local_cluster"]

_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}
_STORE_BYTES = 80 << 20
_HEALTH = {  # a node that is killed is known to be dead after two seconds
    "health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4,
}  # fmt: skip


class PacedScorer(NumpyScorer):
    """Takes ``seconds`` for a pack while the file ``slow`` is there, so that a test decides how long a run lasts."""

    def __init__(self, *, slow, seconds=0.5, **options):
        super().__init__(**options)
        self.slow, self.seconds = Path(slow), seconds

    def score(self, rows):
        self._write("begin", rows)
        if self.slow.exists():
            time.sleep(self.seconds)
        return super().score(rows)


class LocalCluster:
    """A cluster that runs.

    Attributes:
        address: for ``connected`` and ``ray start --address``.
        nodes: the raylets that were added behind the head, oldest first.
    """

    def __init__(self, cluster, cpus: int) -> None:
        self._cluster, self._cpus, self.address, self.nodes = cluster, cpus, cluster.address, []

    def add(self):
        """Add a node and return it; ``node_id`` names it."""
        node = self._cluster.add_node(
            num_cpus=self._cpus, object_store_memory=_STORE_BYTES, include_log_monitor=False, wait=False
        )
        self.nodes.append(node)
        return node

    def kill(self, node) -> None:
        """SIGKILL the raylet and all that runs under it, as when a machine is gone."""
        import psutil

        raylets = [entry.process.pid for entry in node.all_processes["raylet"]]
        workers = [child for pid in raylets for child in psutil.Process(pid).children(recursive=True)]
        self.nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)
        for worker in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()


@contextlib.contextmanager
def local_cluster(nodes: int = 2, cpus_each: int = 1) -> Iterator[LocalCluster]:
    """Run ``nodes`` nodes, the head one of them, and end all of them with the block."""
    from ray.cluster_utils import Cluster

    with mock.patch.dict(os.environ, _QUIET):
        head = {"num_cpus": cpus_each, "object_store_memory": _STORE_BYTES, "include_dashboard": False,
                "include_log_monitor": False, "_system_config": _HEALTH}  # fmt: skip
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            running = LocalCluster(cluster, cpus_each)
            for _ in range(nodes - 1):
                running.add()
            cluster.wait_for_nodes(timeout=60)
            yield running
        finally:
            cluster.shutdown()
