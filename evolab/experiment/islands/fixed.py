"""What of islands can be set, which is their target; everything else refuses to be, and says what to do."""

from __future__ import annotations

from evolab.core import checks
from evolab.experiment.config.config import ExperimentConfig
from evolab.experiment.config.island_options import IslandOptions

SAME = "is the same for all islands and for the whole run. Make others: Experiment.from_config(exp.config | {{{}}})."
"""Of an option."""

OPTIONS = [*ExperimentConfig.names(), *IslandOptions.names()]
"""Everything that islands are made with."""


class Fixed:
    """Has islands refuse what cannot be set of them: the islands train elsewhere, perhaps, from what is on disk."""

    def __setattr__(self, name: str, value: object) -> None:
        if name.startswith("_") or name == "target":
            object.__setattr__(self, name, value)
            return
        if name in OPTIONS:
            raise AttributeError(f"{name} {SAME.format(f'{name!r}: {value!r}')} Can be set: target.")
        if name in dir(type(self)):
            raise AttributeError(f"{name} of islands can be read only. Can be set: target.")
        config: ExperimentConfig = self._config  # type: ignore[attr-defined]  # the islands'
        if name in config.algorithm.hyperparameters:
            raise AttributeError(
                f"{name} is each agent's own: search_space={{...}} says in which ranges values evolve, "
                "hyperparameters={...} where they start, in Experiment(..., islands=...)."
            )
        if name in checks.ELSEWHERE:
            raise AttributeError(
                f"Unknown setting of islands {name!r}. In evolab that is {checks.ELSEWHERE[name]}."
            )
        raise AttributeError(str(checks.unknown("setting of islands", name, ["target", *OPTIONS])))
