"""The form of a run's `state.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from evolab.core.schema import (
    Form,
    anything,
    finite_number,
    flag,
    listing,
    mapping,
    maybe,
    measured,
    record,
    whole,
    word,
)
from evolab.history.events import BY_HAND
from evolab.population.file_schema import AGENT, POPULATION

LEAF = record({"leaf": word, "dtype": word, "shape": listing(whole())})


def _field(key: str, value: object) -> None:
    """A field of the experience: a tensor's name, dtype and shape of a row, or a dict or tuple of fields."""
    if isinstance(value, dict) and "dict" in value:
        listing(_entry)(f"{key}.dict", value["dict"])
    elif isinstance(value, dict) and "tuple" in value:
        listing(_field)(f"{key}.tuple", value["tuple"])
    else:
        LEAF(key, value)


def _entry(key: str, value: object) -> None:
    listing(anything, least=2)(key, value)
    if isinstance(value, list):
        word(f"{key}[0]", value[0])
        _field(f"{key}[1]", value[1])


def _segment(key: str, value: object) -> None:
    """A file of transitions, and how many it has."""
    listing(anything, least=2)(key, value)
    if isinstance(value, list):
        word(f"{key}[0]", value[0])
        whole(1)(f"{key}[1]", value[1])


REPLAY = record(
    {
        "capacity": whole(1),
        "shared": flag,
        "rings": whole(1),
        "length": listing(whole(), least=1),
        "cursor": listing(whole(), least=1),
        "added": whole(),
    },
    {"data": word, "fields": mapping(_field), "segments": listing(_segment), "priorities": whole()},
)
OTHER = record({}, {"capacity": maybe(whole(1)), "horizon": whole(1), "shared": flag})
"""Options alone: what it held is learned from, or lies elsewhere."""


def _buffer(key: str, value: object) -> None:
    (REPLAY if isinstance(value, dict) and "rings" in value else OTHER)(key, value)


def _versions(key: str, value: object) -> None:
    record({"evolab": word})(key, value)
    mapping(word)(key, value)


BUFFER: Form = _buffer
"""Of the experience: a replay buffer's, or the options of a rollout's."""

STATE = record(
    {
        "run": word,
        "name": word,
        "config": mapping(),
        "own": mapping(word),
        "automatic": flag,
        "versions": _versions,
        "population": POPULATION,
        "agents": listing(AGENT, least=1),
        "next_id": whole(),
        "generation": whole(),
        "total_steps": whole(),
        "evaluation_steps": whole(),
        "elite_fitness": measured,
        "history": mapping(record({"bytes": whole(), "sha256": word})),
        "best": maybe(AGENT),
        "elite": maybe(AGENT),
        "buffer": BUFFER,
    },
    {
        "evaluation_steps_by_hand": whole(),
        "elite_episodes": whole(),
        "elite_proposed": measured,
        "elite_offset": finite_number,
        "elite_seemed": measured,
        "elite_deviations": finite_number,
        "changes": record({}, {BY_HAND: mapping(mapping(listing(finite_number, least=2)))}),
        "fitness": mapping(),
    },
)
"""Of everything but the configuration, which `ExperimentConfig` checks."""


def check_state(kept: object, generation: int) -> Mapping[str, Any]:
    """What a `state.json` holds, once it has this form and agrees with itself.

    Args:
        kept: its content.
        generation: that the folder's name says.

    Raises:
        ValueError: names the key.
    """
    STATE("", kept)
    kept = cast("Mapping[str, Any]", kept)
    if kept["generation"] != generation:
        raise ValueError(f"generation is {kept['generation']}, but the folder is named after {generation}.")
    ids = [agent["id"] for agent in kept["agents"]]
    for index, id in enumerate(ids):
        if id in ids[:index]:
            raise ValueError(f"agents[{index}].id is {id}, as is another agent's.")
        if id >= kept["next_id"]:
            raise ValueError(
                f"agents[{index}].id is {id}; next_id is {kept['next_id']}, which has to be larger."
            )
        if kept["agents"][index].get("place", 0) >= len(ids):
            raise ValueError(
                f"agents[{index}].place is {kept['agents'][index]['place']}; there are {len(ids)} agents."
            )
    return kept
