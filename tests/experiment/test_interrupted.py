"""Runs in the background, runs that are interrupted, and runs that go wrong."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time

import numpy as np
import pytest
import torch

import evolab as ev
from tests.experiment.toy_runs import consistent, same, toy
from tests.toys import Toy


def test_start_pause_and_stop_at_any_moment_leave_a_run_that_goes_on(exp):
    reference = toy()
    reference.fill(60)
    rng = np.random.default_rng(0)
    for turn in range(8):
        exp.start()
        assert exp.status == "running"
        time.sleep(float(rng.uniform(0, 0.1)))
        (exp.stop if turn % 2 else exp.pause)()
        status = exp.wait(timeout=30)
        assert status == ("stopped" if turn % 2 else "paused")
    exp.step()  # ends the generation that was under way
    consistent(exp)
    reference.run(generations=exp.generation)
    same(exp, reference)
    reference.close()


def test_starting_again_right_after_a_pause_goes_on(exp):
    exp.start()
    exp.pause()
    exp.start(generations=1)
    assert exp.wait(timeout=60) == "idle"
    exp.start()
    exp.pause()
    exp.step()
    assert exp.status == "idle"


def test_what_cannot_be_done_while_it_runs_says_so(exp):
    exp.start()
    with pytest.raises(RuntimeError, match=r"before exp\.start"):
        exp.start()
    with pytest.raises(
        RuntimeError, match=r"training runs in the background; call exp.pause\(\) before exp.step\(\)."
    ):
        exp.step()
    with pytest.raises(RuntimeError, match=r"before exp\.fill"):
        exp.fill(10)
    exp.pause()
    exp.wait(timeout=60)


def test_looking_on_from_other_threads_disturbs_nothing(exp):
    reference = toy()
    reference.fill(60)
    exp.start(generations=3)
    seen = 0
    while exp.status == "running":
        repr(exp), repr(exp.population), exp.population.describe(), exp.config, exp.progress, exp.version
        if exp.generation:
            exp.rollout(max_steps=2, agent=exp.best)
            exp.best.act(np.zeros(2, np.float32), explore=True)
        seen += 1
    assert exp.wait() == "idle"
    assert seen
    reference.run(generations=3)
    same(exp, reference)
    reference.close()


def test_ctrl_c_at_any_moment_leaves_a_run_that_goes_on(exp):
    before = signal.getsignal(signal.SIGINT)  # a process that was started in the background may ignore it
    reference = toy()
    reference.fill(60)
    rng = np.random.default_rng(1)
    interrupts = 0
    while interrupts < 12:
        delay = float(rng.uniform(0.005, 0.12))
        shooter = threading.Thread(target=shoot, args=(delay, 1 + interrupts % 2))
        try:
            shooter.start()
            while True:
                exp.step()
        except KeyboardInterrupt:
            interrupts += 1
            assert exp.status in ("paused", "idle")
        finally:
            with_patience(shooter)
    exp.step()
    consistent(exp)
    reference.run(generations=exp.generation)
    same(exp, reference)
    assert signal.getsignal(signal.SIGINT) is before
    reference.close()


def shoot(delay, times):
    for _ in range(times):
        time.sleep(delay)
        os.kill(os.getpid(), signal.SIGINT)
        delay = 0.001


def with_patience(shooter):
    """Let a late signal arrive here, where it harms nobody."""
    try:
        shooter.join()
        time.sleep(0.01)
    except KeyboardInterrupt:
        with_patience(shooter)


class Interrupting(Toy):
    """Is interrupted at the hundredth step of all of them."""

    taken = 0

    def step(self, action):
        Interrupting.taken += 1
        if Interrupting.taken == 100:
            os.kill(os.getpid(), signal.SIGINT)
        return super().step(action)


def test_an_interrupted_fill_counts_what_was_done():
    exp = toy(environment=Interrupting)
    Interrupting.taken = 0
    with pytest.raises(KeyboardInterrupt):
        exp.fill(1_000)
    assert 100 <= exp.total_steps == len(exp.buffer) < 1_000
    assert exp.population.table["steps"].tolist() == [m.steps for m in exp.population.individuals]
    exp.step()
    exp.close()


class Broken(Toy):
    """Fails for good once `broken` is set."""

    broken = False

    def step(self, action):
        if Broken.broken:
            raise RuntimeError("the gripper is jammed")
        return super().step(action)


@pytest.fixture
def broken():
    yield Broken
    Broken.broken = False


def test_an_error_in_the_background_is_raised_by_the_next_call(broken):
    exp = toy(environment=broken)
    exp.fill(60)
    exp.step()
    broken.broken = True
    exp.start()
    exp._runner.join(60)
    assert exp.status == "failed"
    assert "the gripper is jammed" in str(exp.error)
    with pytest.raises(Exception, match="the gripper is jammed"):
        exp.step()
    broken.broken = False
    exp.step()
    assert (exp.generation, exp.status) == (2, "idle")
    exp.close()


def test_nan_in_one_agents_weights_is_recorded_and_costs_only_that_agent(exp):
    victim = exp.population.ids[1]
    exp.population.table["actor"][1] = float("nan")
    generation = exp.step()
    assert generation.evaluations[-1].agent == victim
    assert np.isnan(generation.evaluations[-1].fitness)
    assert all(np.isfinite(e.fitness) for e in generation.evaluations[:-1])
    assert [(fault.agent, fault.kind) for fault in generation.faults] == [(victim, "diverged")]
    assert all(birth.parent != victim for birth in generation.births)
    assert all(torch.isfinite(value).all() for value in exp.population.table.values())


@pytest.mark.slow
def test_two_hundred_tiny_generations_grow_neither_threads_nor_memory():
    import resource

    exp = toy(population=2, steps_per_generation=8, mutations=ev.Mutations(none=1, new_layer=0.5), eval_steps=5,
              buffer=ev.ReplayBuffer(500))  # fmt: skip
    exp.fill(60)
    exp.run(generations=40)
    gc.collect()
    threads, objects = threading.active_count(), len(gc.get_objects())
    tensors = sum(type(o) is torch.Tensor for o in gc.get_objects())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(16):
        exp.run(generations=5)
        exp.start(generations=5)
        exp.wait()
    gc.collect()
    assert exp.generation == 200
    assert threading.active_count() <= threads
    assert sum(type(o) is torch.Tensor for o in gc.get_objects()) <= tensors + 100
    assert len(gc.get_objects()) - objects < 160 * 60, "about a record of history per generation"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 40_000, "in kB"
    exp.close()
