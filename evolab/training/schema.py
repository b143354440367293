"""The form of a run's `state.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evolab.core.schema import (
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
from evolab.population.schema import AGENT, POPULATION

BUFFER = record(
    {},
    {
        "capacity": whole(1),
        "horizon": whole(1),
        "shared": flag,
        "rings": whole(1),
        "length": listing(whole()),
        "cursor": listing(whole()),
        "added": whole(),
        "data": word,
        "fields": mapping(mapping()),
        "segments": listing(listing(anything, least=2)),
    },
)
"""Of the experience: a replay buffer's, or the options of a rollout's."""

STATE = record(
    {
        "run": word,
        "name": word,
        "config": mapping(),
        "own": mapping(word),
        "automatic": flag,
        "versions": mapping(word),
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
        "changes": record({}, {BY_HAND: mapping(mapping(listing(finite_number, least=2)))}),
        "fitness": mapping(),
    },
)
"""Of everything but the configuration, which `ExperimentConfig` checks."""


def check_state(kept: Any, generation: int) -> Mapping[str, Any]:
    """What a `state.json` holds, once it has this form and agrees with itself.

    Args:
        kept: its content.
        generation: that the folder's name says.

    Raises:
        ValueError: names the key.
    """
    STATE("", kept)
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
