"""A Ray cluster as a run sees it: reached or refused, its machines counted and looked at."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Final

from colcap import store
from colcap.errors import ColcapError, ConfigError
from colcap.runners.ray_folder import RunFolder

LOOK_TIMEOUT_S: Final = 120.0
"""How long every machine may take to say what it sees, in seconds."""

KNOCK_TIMEOUT_S: Final = 10.0
"""How long the cluster's head may take to accept a connection, in seconds."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a machine says of itself."""

    host: str
    """Its name."""
    version: str
    """Of its colcap."""
    sees_run: bool
    """Whether it sees the run folder, as the driver does."""


def look(run: RunFolder) -> Seen:
    """Look, on a machine of the cluster, for the run folder."""
    return Seen(socket.gethostname(), store.versions().get("colcap", "none"), run.is_seen())


@dataclass(frozen=True, slots=True)
class Cluster:
    """The machines that are there when a run starts; more may join, and some may die."""

    nodes: tuple[Mapping[str, Any], ...]
    """What Ray says of each."""

    @property
    def num_nodes(self) -> int:
        """Machines that take work."""
        return len(self.nodes)

    @property
    def node_ids(self) -> tuple[str, ...]:
        """Their names, as Ray calls them."""
        return tuple(str(node["NodeID"]) for node in self.nodes)

    @property
    def gpus(self) -> int:
        """GPUs of a machine that has any, the fewest; 0 where there is none."""
        return min((int(n["Resources"].get("GPU", 0)) for n in self._gpu_nodes), default=0)

    @property
    def num_gpu_nodes(self) -> int:
        """Machines with GPUs."""
        return len(self._gpu_nodes)

    @property
    def cpus(self) -> float:
        """CPUs of a machine where engines run, the fewest."""
        return min(float(n["Resources"].get("CPU", 0)) for n in self._gpu_nodes or self.nodes)

    @property
    def _gpu_nodes(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(node for node in self.nodes if node["Resources"].get("GPU", 0) >= 1)

    def check(self, run: RunFolder) -> None:
        """See that every machine has this colcap and sees the run folder.

        Raises
        ------
        ColcapError : one does not; says which.
        """
        here = store.versions().get("colcap", "none")
        for seen in self._look(run):
            if seen.version != here:
                raise ColcapError(f"{seen.host}: has colcap {seen.version}, this machine has {here}; install the same")
            if not seen.sees_run:
                raise ColcapError(f"{run.folder}: {seen.host} {run.missing}")

    def _look(self, run: RunFolder) -> Sequence[Seen]:
        import ray
        from ray.exceptions import RayError

        task = ray.remote(num_cpus=0)(look)
        try:
            asked = [task.options(scheduling_strategy=_on(node["NodeID"])).remote(run) for node in self.nodes]
            return list(ray.get(asked, timeout=LOOK_TIMEOUT_S))
        except (RayError, TimeoutError) as error:
            said = str(error).strip().splitlines()
            raise ColcapError(
                f"a machine of the Ray cluster does not answer, or has no colcap: {said[-1] if said else error}"
            ) from error

    def actor(self, kind: type) -> Any:
        """An actor on the driver's own machine, where it lives as long as the driver."""
        import ray

        return ray.remote(num_cpus=0)(kind).options(scheduling_strategy=_on(own_node())).remote()

    def get(self, reference: Any) -> Any:
        """The result of a call."""
        import ray

        return ray.get(reference, timeout=LOOK_TIMEOUT_S)


def own_node() -> str:
    """This machine, as Ray calls it."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def _on(node_id: str) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node_id, soft=False)


def in_turn(node_ids: Sequence[str]) -> Callable[[], dict[str, Any]]:
    """What Ray Data asks for before each actor: machines in turn, or another one where that one has died."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    turns = cycle(node_ids)
    return lambda: {"scheduling_strategy": NodeAffinitySchedulingStrategy(next(turns), soft=True)}


@contextmanager
def connected(address: str | None) -> Iterator[Cluster]:
    """Reach a cluster, or start a Ray on this machine; one that this process uses already is used and left.

    Raises
    ------
    ColcapError : Ray is not installed; there is no cluster at that address; it has no machine that takes work.
    """
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError(f"the runner ray needs Ray Data ({error}): pip install 'colcap[ray]'") from None
    ours = not ray.is_initialized()
    if ours:
        _connect(address)
    try:
        nodes = tuple(node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) > 0)
        if not nodes:
            raise ColcapError("the Ray cluster has no machine with a CPU to give")
        yield Cluster(nodes)
    finally:
        if ours:
            ray.shutdown()


def _connect(address: str | None) -> None:
    import ray

    if address and address.startswith("ray://"):
        raise ConfigError(f"ray_address: got {address!r}; start colcap on a machine of the cluster, with host:port")
    if address and address != "auto":
        _knock(address)  # Ray itself would wait for minutes
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)  # it warns that its bars are off
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=None if address else False,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = f"at {address}" if address else "on this machine"
        raise ConfigError(f"ray_address: no Ray {where} to work on: {str(error).strip().splitlines()[0]}") from error


def _knock(address: str) -> None:
    """See that something answers there. Raises ConfigError."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), KNOCK_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        raise ConfigError(f"ray_address: no Ray at {address!r} ({error}); it should be the head's host:port") from None
