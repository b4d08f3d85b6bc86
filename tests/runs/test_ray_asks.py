"""What a run asks Ray for, and gets: GPUs and CPUs for each engine, a machine for each, few parts at once."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
import ray
from ray import cloudpickle
from ray.cluster_utils import Cluster as RayCluster

from colcap.config import Config
from colcap.errors import ConfigError
from colcap.runners.ray import PARTS_PER_ACTOR, PARTS_QUEUED, _actors, _dataset, _row, _Stage, _through
from colcap.runners.ray_cluster import Cluster, _on, connected, in_turn, own_node
from colcap.runners.ray_parts import Board, Row

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # machines do not have the tests

A, B = "a" * 56, "b" * 56
"""Machines, as Ray calls them."""


class Placed:
    """An actor that says where it is and what it has; it works only once all are there, or one would do it all."""

    def __init__(self, folder: Path, actors: int) -> None:
        self.folder, self.actors = folder, actors
        (folder / str(os.getpid())).write_text(f"{own_node()} {os.environ.get('CUDA_VISIBLE_DEVICES', '')}")

    def __call__(self, row: Row) -> Row:
        deadline = time.monotonic() + 100
        while len(list(self.folder.iterdir())) < self.actors and time.monotonic() < deadline:
            time.sleep(0.05)
        return row


def places(folder: Path, *, actors: int, gpus: int = 0, machines: tuple[str, ...] = ()) -> list[list[str]]:
    """Where so many actors are that ask for no CPU, and what GPUs they have."""
    arguments = {"folder": folder, "actors": actors}
    stage = _Stage(Placed, arguments, cpus=0, gpus=gpus, actors=actors, machines=machines)
    assert len(list(_through(_dataset([_row(part, None) for part in range(actors)]), stage).iter_rows())) == actors
    return sorted(path.read_text().split() for path in folder.iterdir())


def machines(count: int, *, cpus: int, gpus: int = 0) -> Cluster:
    return Cluster(tuple({"NodeID": f"{n:056x}", "Resources": {"CPU": cpus, "GPU": gpus}} for n in range(count)))


def config(**runtime: int) -> Config:
    return Config.model_validate({"runtime": runtime})


@pytest.mark.parametrize(
    ("cluster", "runtime", "engine", "parts", "expected"),
    [
        (machines(3, cpus=33, gpus=8), {}, "vllm", 1000, (24, 1, 4.0)),
        (machines(3, cpus=33, gpus=8), {"tensor_parallel_size": 4}, "vllm", 1000, (6, 4, 16.0)),
        (machines(3, cpus=33, gpus=8), {"engines": 3}, "vllm", 1000, (3, 1, 32.0)),
        (machines(3, cpus=33, gpus=8), {}, "vllm", 5, (5, 1, 16.0)),
        (machines(3, cpus=33, gpus=8), {}, "openai", 1000, (3, 0, 32.0)),
        (machines(2, cpus=1), {}, "vllm", 1000, (2, 0, 0.0)),
    ],
)
def test_actors_share_the_gpus_and_cpus_of_the_machines(
    cluster: Cluster, runtime: dict[str, int], engine: str, parts: int, expected: tuple[int, int, float]
) -> None:
    result = _actors(config(**runtime), engine, cluster, parts=parts, left_for_tasks=1)

    assert (result.actors, result.gpus, result.cpus) == expected
    assert result.machines == (() if result.gpus else cluster.node_ids)


def test_an_engine_that_no_machine_can_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match="got 16; a machine of the cluster has 8 GPUs"):
        _actors(config(tensor_parallel_size=16), "vllm", machines(2, cpus=8, gpus=8), parts=9, left_for_tasks=1)


def test_actors_without_a_gpu_go_to_the_machines_in_turn() -> None:
    ask = in_turn([A, B])

    result = [ask()["scheduling_strategy"] for _ in range(3)]

    assert [each.node_id for each in result] == [A, B, A]
    assert all(each.soft for each in result)  # a machine that has died keeps no actor from starting


def test_no_two_actors_have_the_same_gpu(cluster: RayCluster, tmp_path: Path) -> None:
    with connected(cluster.address) as there:
        result = places(tmp_path, actors=4, gpus=1)

    assert result == sorted([node, gpu] for node in there.node_ids for gpu in "01")


def test_actors_are_where_they_should_be_though_every_cpu_is_busy(cluster: RayCluster, tmp_path: Path) -> None:
    with connected(cluster.address) as there:
        nodes = there.node_ids
        busy = [ray.remote(num_cpus=1)(Board).options(scheduling_strategy=_on(node)).remote() for node in nodes]
        ray.get([each.again.remote() for each in busy])
        result = places(tmp_path, actors=4, machines=nodes)

    assert result == sorted([node] for node in [*nodes, *nodes])


def test_no_more_parts_are_handed_to_an_actor_than_may_be_lost_with_it(cluster: RayCluster) -> None:
    stage = _Stage(object, {}, cpus=1, gpus=2, actors=4)

    with connected(cluster.address):  # or Ray would start a cluster for the dataset, and keep this process in it
        asked = _through(_dataset([_row(0, None)]), stage)._logical_plan.dag

    assert asked.compute.max_size == asked.compute.min_size == 4
    assert asked.compute.max_tasks_in_flight_per_actor == PARTS_QUEUED
    assert asked.compute.max_concurrent_calls_per_actor == PARTS_PER_ACTOR
    assert asked.ray_remote_args["num_gpus"] == 2
