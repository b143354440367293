"""The form of a configuration in a file; what its values mean is checked by `ExperimentConfig`."""

from __future__ import annotations

from collections.abc import Mapping

from evolab.core.schema import either, finite_number, flag, listing, mapping, maybe, one_of, whole, word

CONFIG = {
    "environment": maybe(either(str, dict)),
    "algorithm": maybe(either(str, dict)),
    "population": maybe(whole(1)),
    "num_envs": maybe(whole(1)),
    "network": maybe(either(str, dict, list)),
    "hyperparameters": maybe(mapping(either(int, float, bool, str))),
    "search_space": maybe(mapping(either(dict))),
    "selection": maybe(either(str, dict)),
    "mutations": maybe(either(str, dict)),
    "buffer": maybe(either(int, str, dict)),
    "steps_per_generation": maybe(whole(1)),
    "eval_episodes": maybe(whole(1)),
    "eval_steps": maybe(whole(1)),
    "confirmation": whole(1),
    "evaluation_share": finite_number,
    "update_ratio": maybe(finite_number),
    "normalise": maybe(one_of(listing(word), word, flag)),
    "evolving": flag,
    "revive": maybe(either(bool, str)),
    "draw": maybe(one_of(listing(word), flag)),
    "data": maybe(word),
    "load": maybe(word),
    "fitness": maybe(either(str, dict)),
    "device": word,
    "dtype": word,
    "precision": word,
    "deterministic": flag,
    "env_kwargs": maybe(mapping()),
    "vectorization": word,
    "frame_stack": whole(1),
    "on_fault": maybe(word),
    "overlap": flag,
    "target": maybe(finite_number),
    "seed": maybe(whole()),
    "folder": maybe(word),
    "checkpoint_every": either(int, str),
    "keep": whole(1),
    "trackers": maybe(one_of(listing(word), word)),
    "progress": flag,
}
"""By option."""


def check_config(values: Mapping[str, object], key: str = "") -> None:
    """Refuse values of another form than their options have.

    Args:
        values: plain, by option; an unknown option is refused elsewhere, with the nearest name.
        key: under which they stand in their file.

    Raises:
        ValueError: names the key.
    """
    for name, value in values.items():
        if name in CONFIG:
            CONFIG[name](f"{key}.{name}" if key else name, value)
