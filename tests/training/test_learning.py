"""How a run begins where nothing was filled in."""

from __future__ import annotations

import pytest

import evolab as ev
from evolab.training.learning import fill, warm_up_steps
from tests.toys import Toy


def state_of(batch=8):
    exp = ev.Experiment(Toy, "TD3", population=4, num_envs=2, network=[4], seed=0, device="cpu", draw=False,
                        search_space={}, hyperparameters={"batch_size": batch})  # fmt: skip
    return exp._state


@pytest.mark.parametrize(
    ("max_steps", "batch", "expected"),
    [
        (None, 8, 1000),
        (None, 2000, 2000),  # batches that can be had
        (100_000, 8, 1000),
        (5000, 8, 500),  # a tenth
        (500, 64, 64),  # and no less than a batch
        (50, 64, 42),  # but for the vector step of eight that a generation takes at least
        (9, 64, 1),
        (8, 64, 0),
        (1, 64, 0),
    ],
)
def test_random_steps_before_learning_leave_something_of_the_budget(max_steps, batch, expected):
    assert warm_up_steps(state_of(batch), max_steps) == expected


def test_what_was_spent_before_counts():
    state = state_of()
    state.count(300)
    state.evaluator.resume(150)
    assert warm_up_steps(state, 500) == 42
    assert warm_up_steps(state, 400) == 0


def test_filling_ends_with_the_vector_step_that_reaches_it():
    state = state_of()
    list(fill(state, 17))
    assert state.total_steps == len(state.buffer) == 24
