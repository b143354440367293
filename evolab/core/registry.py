"""The table of parts: every algorithm, network, selection ... by the name that users write and files hold.

A new part is one file and one line here. Another package adds parts by entry points, without a line here:

    [project.entry-points."evolab.selection"]
    Lottery = "my_package.lottery:Lottery"

The part is then named, saved, loaded and listed like evolab's own. A name in a file is looked up in
this table and nowhere else, so that loading imports nothing that is not installed as a part.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

TYPE_CHECKING = False  # importing `typing` is half of what `import evolab` would cost
if TYPE_CHECKING:
    from importlib.metadata import EntryPoint
    from typing import Any, TypeVar

    T = TypeVar("T")

PARTS: dict[str, dict[str, str]] = {
    "algorithm": {
        "DQN": "evolab.algorithms.dqn",
        "QRDQN": "evolab.algorithms.qr_dqn",
        "DDPG": "evolab.algorithms.ddpg",
        "TD3": "evolab.algorithms.td3",
        "SAC": "evolab.algorithms.sac",
        "TQC": "evolab.algorithms.tqc",
        "PPO": "evolab.algorithms.ppo",
        "CQN": "evolab.algorithms.cqn",
        "TD3BC": "evolab.algorithms.td3_bc",
        "IQL": "evolab.algorithms.iql",
        "BCQ": "evolab.algorithms.bcq",
        "BC": "evolab.algorithms.bc",
        "ILQL": "evolab.algorithms.ilql",
    },
    "network": {
        "MLP": "evolab.networks.mlp.mlp",
        "CNN": "evolab.networks.cnn.cnn",
        "MultiInput": "evolab.networks.multi_input",
        "Recurrent": "evolab.networks.recurrent.recurrent",
        "GPT": "evolab.networks.gpt.gpt",
    },
    "range": {
        "Float": "evolab.core.ranges",
        "Integer": "evolab.core.ranges",
        "Choice": "evolab.core.ranges",
    },
    "selection": {
        "Tournament": "evolab.evolution.selection.tournament",
        "Truncation": "evolab.evolution.selection.truncation",
        "Narrowing": "evolab.evolution.selection.narrowing",
        "Gap": "evolab.evolution.selection.gap",
        "MFPBT": "evolab.evolution.selection.mfpbt",
    },
    "mutations": {"Mutations": "evolab.evolution.mutation.mutations"},
    "mutation": {"reset_dormant": "evolab.evolution.mutation.reset"},
    "fitness": {"FQE": "evolab.evaluation.fqe.fqe"},
    "buffer": {
        "ReplayBuffer": "evolab.data.buffers.replay",
        "RolloutBuffer": "evolab.data.buffers.rollout",
    },
    "environment": {
        "WordGame": "evolab.envs.language.word_game",
        "RandomWalks": "evolab.envs.language.random_walks",
    },
    "tracker": {
        "CSV": "evolab.reporting.trackers.csv",
        "JSONL": "evolab.reporting.trackers.jsonl",
        "TensorBoard": "evolab.reporting.trackers.tensorboard",
        "WandB": "evolab.reporting.trackers.wandb",
        "MLflow": "evolab.reporting.trackers.mlflow",
    },
    "panel": {},  # the dashboard draws its own; here stand those of other packages
}
"""Kind of part -> name -> module. The class (or the function, of a mutation) in the module has the part's name."""

ABOVE = {
    "evaluate_agent": "evolab.evaluation.result",
    "LanguageReturns": "evolab.evaluation.language_returns",
    "Islands": "evolab.experiment.islands.islands",
}
"""What an object offers and a room or a file above it carries out: function or class -> module."""


def names(kind: str) -> list[str]:
    """The parts of a kind, evolab's own first.

    >>> names("range")
    ['Float', 'Integer', 'Choice']
    """
    return [*PARTS[kind], *sorted(_installed(kind))]


def part(kind: str, name: str) -> Any:
    """The class (or function) of a part; upper and lower case, "+" and "-" do not matter.

    Raises:
        ValueError: no such part; says which are near.
    """
    found = {_folded(known): known for known in names(kind)}.get(_folded(name))
    if found is None:
        raise _unknown(kind, name, names(kind))
    return _class(kind, found)


def any_part(name: object) -> Any:
    """The class of a part of any kind, by its exact name.

    Raises:
        ValueError: no such part; says which are near.
    """
    for kind in PARTS:
        if isinstance(name, str) and name in names(kind):
            return _class(kind, name)
    raise _unknown("type in the configuration", name, [known for kind in PARTS for known in names(kind)])


def above(name: str) -> Any:
    """A function or class of a higher room or file, which a method of a lower one stands for."""
    return getattr(import_module(ABOVE[name]), name)


def resolve(kind: str, value: object, base: type[T]) -> T:
    """The part that a name, a class or an object stands for.

    Raises:
        ValueError: no such name.
        TypeError: neither a name nor such a part.
    """
    if isinstance(value, base):
        return value
    if isinstance(value, type) and issubclass(value, base):
        return value()
    if isinstance(value, str):
        return part(kind, value)()
    if not PARTS[kind]:
        raise TypeError(
            f"{kind} is {value!r}; a {base.__name__} or the name of an installed one is expected."
        )
    example = next(iter(PARTS[kind]))
    raise TypeError(
        f"{kind} is {value!r}; a name such as {example!r} or an object, ev.{example}(...), is expected."
    )


def name_of(value: object) -> str | None:
    """The name under which an object's class is in the table; None for what is the user's own."""
    kind = type(value)
    for parts in PARTS:
        if kind.__name__ in names(parts) and _class(parts, kind.__name__) is kind:
            return kind.__name__
    return None


def _unknown(kind: str, name: object, known: list[str]) -> ValueError:
    from evolab.core import checks  # `import evolab` does not pay for what it says of mistakes

    return checks.unknown(kind, name, known)


def _folded(name: str) -> str:
    return name.lower().replace("+", "").replace("-", "")


def _class(kind: str, name: str) -> Any:
    if name in PARTS[kind]:
        return getattr(import_module(PARTS[kind][name]), name)
    return _installed(kind)[name].load()


@cache
def _installed(kind: str) -> dict[str, EntryPoint]:
    """Parts that other packages bring; evolab's own names cannot be taken over."""
    from importlib.metadata import entry_points  # 20 ms, which `import evolab` does not pay

    return {one.name: one for one in entry_points(group=f"evolab.{kind}") if one.name not in PARTS[kind]}
