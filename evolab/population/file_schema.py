"""The form of agents in a file."""

from __future__ import annotations

from evolab.core.schema import (
    anything,
    count,
    either,
    listing,
    mapping,
    maybe,
    measured,
    record,
    whole,
    word,
)

AGENT = record(
    {
        "id": whole(),
        "parent": maybe(whole()),
        "hyperparameters": mapping(either(int, float, bool, str)),
        "fitness": listing(measured),
        "steps": whole(),
        "updates": whole(),
        "counts": mapping(count),
        "genes": mapping(),
    },
    {"place": whole(), "resting": maybe(whole())},
)
"""Of one agent, as `serialisation.take` writes it."""

SHARED = {
    "algorithm": either(dict, str),
    "network": either(dict, str),
    "search_space": mapping(either(dict, str)),
    "observation_space": mapping(),
    "action_space": mapping(),
    "dtype": word,
    "seed": whole(),
}
"""Of what the agents of a table have in common, as `serialisation.describe` writes it."""

OPTIONAL = {"normalise": listing(word)}
"""Of the same, where it says something."""

AGENT_FILE = record({**SHARED, "agent": AGENT}, {"sha256": word, **OPTIONAL})
"""Of `agent.json`."""

POPULATION = record(SHARED, {"precision": anything, **OPTIONAL})
"""Of the population in `state.json`."""
