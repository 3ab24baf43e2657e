"""A Ray cluster for a block, and independent tasks on it: all that the other rooms need to leave a machine.

for number, result in run_tasks(function, items, cluster="auto"): ...
"""

from .connection import connected
from .tasks import ClusterTaskError, run_tasks, task_slots
from .workers import run_on_workers

__all__ = ["ClusterTaskError", "connected", "run_on_workers", "run_tasks", "task_slots"]
