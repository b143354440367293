"""Short ways: through how many files something passes, counted from the calls that are made, each function once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

import numpy as np
from torch import Tensor

import evolab as ev
from evolab.core.experience import Batch
from evolab.networks.loss import Loss
from evolab.training.state import TrainingState

PACKAGE = Path(ev.__file__).parent
ROOMS = (
    (PACKAGE.parent / "pyproject.toml").read_text().split('layers = [\n    "evolab.__main__')[1].split("]")[0]
)
LR = 0.00123456789
"""A learning rate that nothing else has by chance."""


def visited(
    work: Callable[[], object], carries: Callable[[FrameType, object], bool], arrived: Sequence[object] = ()
) -> list[str]:
    """Files in the order in which functions of theirs that carry something are called for the first time.

    Args:
        work: what is watched.
        carries: True of a frame that returns a value, if something is carried in it.
        arrived: calls are not watched any more once there is something in it.
    """
    known, opened, calls = set(), {}, []

    def note(frame: FrameType, event: str, value: object) -> None:
        if event == "call" and not arrived and frame.f_code not in known:
            if frame.f_code.co_filename.startswith(str(PACKAGE)):
                opened[frame] = len(calls)
                calls.append("")
        elif event == "return":
            place = opened.pop(frame, None)
            if place is not None and frame.f_code not in known and carries(frame, value):
                known.add(frame.f_code)
                calls[place] = Path(frame.f_code.co_filename).relative_to(PACKAGE).as_posix()

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    files = [file for file in calls if file]
    return [file for file, before in zip(files, ["", *files], strict=False) if file != before]


def returns(files: list[str]) -> int:
    """How often a way comes back to a file."""
    return len(files) - len(set(files))


def ascents(files: list[str]) -> int:
    """How often a way leads to a room above the one that it comes from."""
    floors = [ROOMS.index(file.split("/")[0]) for file in files]
    return sum(floor < before for before, floor in zip(floors, floors[1:], strict=False))


def holds(value: object) -> bool:
    """True of the learning rate, and of what holds it by its name."""
    if isinstance(value, dict):
        return any(holds(one) for one in value.values())
    if isinstance(value, list):
        return any(isinstance(one, dict) and holds(one) for one in value)
    return isinstance(value, float) and value == LR


def test_hyperparameters_are_a_tensor_after_few_files():
    arrived = []

    def carries(frame: FrameType, value: object) -> bool:
        if frame.f_code.co_name == "__setattr__":  # which names them in a message
            return False
        tensor = value.get("lr") if isinstance(value, dict) else None
        if isinstance(tensor, Tensor) and not arrived:
            arrived.append(float(tensor[0]))
        named = "hyperparameters" in frame.f_code.co_names
        return named or holds(value) or any(holds(one) for one in frame.f_locals.values())

    def work() -> None:
        ev.Experiment(
            "CartPole-v1", "DQN", population=2, num_envs=1, hyperparameters={"lr": LR}, draw=["tau"]
        )

    ev.Experiment("CartPole-v1", "DQN", population=1, num_envs=1)  # files that are imported late
    files = visited(work, carries, arrived)
    assert arrived == [np.float32(LR)]
    assert len(set(files)) <= 10, files
    assert ascents(files) <= 2, files


def test_a_batch_comes_to_adam_with_few_returns():
    class Own(ev.DQN):
        """Not known to kernels, so that the algorithm's own update is made."""

    exp = ev.Experiment("CartPole-v1", Own(), population=2, num_envs=1, seed=1)
    exp.fill(300)
    carried = (Batch, Loss)
    files = visited(
        lambda: exp.population.learn(exp._state.buffer, updates=1),
        lambda frame, _: any(isinstance(one, carried) for one in frame.f_locals.values()),
    )
    assert "algorithms/dqn.py" in files
    assert returns(files) <= 5, files


def test_training_hands_its_state_through_few_files():
    exp = ev.Experiment("CartPole-v1", "DQN", population=2, num_envs=1, steps_per_generation=50, seed=1)
    exp.fill(200)
    files = visited(
        lambda: exp.run(generations=1),
        lambda frame, _: any(
            isinstance(one, TrainingState) for name, one in frame.f_locals.items() if name != "self"
        ),
    )
    assert len(set(files)) <= 14, files
    assert returns(files) <= 8, files
