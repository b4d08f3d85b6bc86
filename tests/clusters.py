"""Real Ray clusters on loopback: machines of one CPU each, as Ray sees it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ray.cluster_utils import Cluster

MACHINE: Final = {"num_cpus": 1, "object_store_memory": 100 << 20}
"""What a machine has; Ray's default takes a third of the memory for objects, of which there are none."""


@contextmanager
def loopback_cluster(num_machines: int = 2, *, num_cpus: int = 1, num_gpus: int = 0) -> Iterator[Cluster]:
    """A cluster of so many machines; its processes have the environment of now. What it says of GPUs, Ray believes."""
    machine = {**MACHINE, "num_cpus": num_cpus, "num_gpus": num_gpus}
    started = Cluster(initialize_head=True, head_node_args=machine)
    try:
        for _ in range(num_machines - 1):
            started.add_node(**machine)
        yield started
    finally:
        started.shutdown()
