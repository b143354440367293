"""Sweeps on Ray: the same results as in one process, whoever is killed; mistakes end with a sentence."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

import pytest

import evolab as ev
from tests.core.test_ray_session import answers
from tests.experiment.sweeps.test_migration_orders import assert_equal as assert_same_islands
from tests.experiment.sweeps.test_migration_orders import isles
from tests.experiment.sweeps.test_outages import epochs, stand_still
from tests.experiment.sweeps.test_sweep import (
    FOUR,
    GOALS,
    SMALL,
    assert_equal,
    kill_workers,
    swept,
    undisturbed,
)
from tests.toys import Toy

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("one_ray")]

__all__ = ["undisturbed"]  # a fixture
ray = pytest.importorskip("ray")


def test_actors_find_the_same_whoever_is_killed(tmp_path, undisturbed):
    made = swept(tmp_path / "s", "ray", workers=2, wait=False, retries=20)
    kill_workers(made, "*/generation-*")
    assert_equal(made.folder, undisturbed)


def test_islands_on_actors_find_the_same_whoever_stands_still_or_is_killed(tmp_path):
    whole = isles(tmp_path / "whole", generations=8).folder
    found = isles(tmp_path / "ray", engine="ray", workers=2, generations=8, wait=False)
    stand_still(found, lambda: epochs(found)[1] > epochs(found)[0])
    kill_workers(found, ".epochs/*")
    assert_same_islands(found.folder, whole)


@pytest.mark.parametrize("loss", ["OutOfMemoryError", "NodeDiedError", "ObjectLostError"])
def test_whatever_ray_calls_the_loss_of_an_actor_its_run_goes_on(tmp_path, monkeypatch, loss):
    """Ray says by another error that an actor was killed for want of memory, or that its machine is gone."""
    kind, get, left = getattr(ray.exceptions, loss), ray.get, [1]

    def lossy(*arguments, **options):
        if left:
            left.pop()
            raise kind(*(["it is gone"] if loss != "ObjectLostError" else ["0" * 56, None, ""]))
        return get(*arguments, **options)

    monkeypatch.setattr(ray, "get", lossy)
    options = {**SMALL, **FOUR[0], **GOALS, "generations": 1}
    made = ev.sweep(1, tmp_path / "s", engine="ray", workers=1, **options)
    assert not left
    assert made.finished


def test_an_experiment_of_islands_keeps_its_actors_between_two_steps(tmp_path):
    whole = isles(tmp_path / "whole", generations=4).folder
    about = {**SMALL, **FOUR[2], "islands": 3, "every": 2, "seed": 3, "progress": False}
    exp = ev.Experiment(folder=tmp_path / "ray", engine="ray", workers=2, **about)
    exp.fill(180)
    exp.step()
    crew = list(exp._driver._kept.engine._crew)
    exp.start(generations=2)
    assert exp.wait() == "idle"
    assert list(exp._driver._kept.engine._crew) == crew
    assert_same_islands(exp.folder, whole)
    exp.start()
    exp.stop()
    assert exp.wait() == "stopped"
    assert exp._driver._kept.stopped
    exp.step()
    exp.close()
    assert exp.generation == 6


class Loud(Toy):
    """Says so whenever it begins."""

    def reset(self, **options):
        print("a step of the simulator", flush=True)
        print("a warning of the simulator", file=sys.stderr, flush=True)
        return super().reset(**options)


def test_an_environment_of_one_s_own_is_sent_and_what_it_prints_stays_there(tmp_path, capfd):
    options = {**SMALL, **FOUR[3], **GOALS, "environment": Loud, "generations": 1}
    made = ev.sweep(1, tmp_path / "s", engine="ray", workers=1, **options)
    assert made.table["state"].tolist() == ["over (generations)"]
    shown = capfd.readouterr()
    assert "simulator" not in shown.out + shown.err


def test_an_environment_that_cannot_be_sent_says_what_to_pass(tmp_path):
    held = threading.Lock()

    def locked():
        with held:
            return Toy()

    options = {**SMALL, **FOUR[0], **GOALS, "environment": locked}
    with pytest.raises(TypeError, match=r"environment cannot be sent to a worker: .*'my_module:MyEnv-v0'"):
        ev.sweep(1, tmp_path / "s", engine="ray", workers=1, **options)


def test_more_workers_than_there_is_room_for_are_refused(tmp_path):
    with pytest.raises(ValueError, match="workers is 3 with 1 threads each, and the cluster has room for 2"):
        swept(tmp_path / "s", "ray", workers=3)


def test_another_evolab_on_a_node_is_refused(tmp_path, monkeypatch):
    from evolab.experiment.engines import on_ray

    monkeypatch.setattr(on_ray, "about", lambda: {"evolab": "9.9", "Python": "3.99"})
    with pytest.raises(RuntimeError, match=r"a node of the cluster has evolab .*, this process 9.9"):
        swept(tmp_path / "s", "ray", workers=1)


def test_an_address_where_nobody_answers_ends_with_a_sentence(monkeypatch):
    from evolab.core import ray_session

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]  # bound, and nobody listens
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        monkeypatch.setattr("ray.is_initialized", lambda: False)
        with pytest.raises(ConnectionError, match=f"no Ray answers at 127.0.0.1:{port}"):
            ray_session.connect("engine='ray'")
        taken.listen()
        answers(taken, b"\0\0\0\4\0\0\0\0\0")
        refused = ConnectionError("no token was sent")
        monkeypatch.setattr("ray.init", lambda **_: (_ for _ in ()).throw(refused))
        with pytest.raises(
            ConnectionError, match=r"did not let this program in: no token .* RAY_AUTH_MODE=token"
        ):
            ray_session.connect("engine='ray'")
    monkeypatch.setenv("RAY_ADDRESS", "nowhere")
    with pytest.raises(ValueError, match="RAY_ADDRESS is 'nowhere'; a host and a port are expected"):
        ray_session.connect("engine='ray'")


def test_the_cluster_that_there_is_answers():
    from evolab.core import ray_session

    ray_session._knock(ray.get_runtime_context().gcs_address)


JOIN = """
from evolab.core import ray_session
assert ray_session.connect("a test")
print(len(ray_session.imported("a test").nodes()))
"""


def test_another_program_joins_a_ray_that_listens_on_the_loopback_alone():
    """It looked for it at the machine's own address, for a minute."""
    joined = subprocess.run(
        [sys.executable, "-c", JOIN],
        env={**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert joined.stdout.strip() == "1", joined.stderr


def test_a_ray_of_one_machine_listens_on_the_loopback_alone():
    """Told so by `init` alone, it listened on every address of the machine."""
    import ray

    assert ray.util.get_node_ip_address() == "127.0.0.1"
