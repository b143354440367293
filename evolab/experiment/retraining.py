"""Training once more by the settings that a run has found: one agent, or many seeds to tell what they are worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from evolab.core import checks
from evolab.evolution.schedules import stages_of
from evolab.experiment.certification import certified
from evolab.experiment.certification_plan import Wish
from evolab.experiment.composition import ExperimentParts
from evolab.experiment.replay_schedule import enter, options_of, prepare, warm_up
from evolab.history.events import Generation
from evolab.reporting.certificate import Certificate

Again = TypeVar("Again", bound="Retraining")


class Retraining(ExperimentParts):
    """The part of an experiment that trains others by its schedule."""

    if TYPE_CHECKING:  # of the experiment

        def fill(self, source: object) -> None: ...  # noqa: D102
        def step(self) -> Generation: ...  # noqa: D102

    def replay(self: Again, schedule: object = None, *, fill: int | None = None, **options: object) -> Again:
        """Train one agent from scratch by the winner's schedule: its result without evolution.

        The agent takes over hyperparameters and architecture at the steps at which the line changed
        them; layers and units grow and shrink as they did, weights are its own throughout. Changes of
        weights are not repeated, and a lone agent learns from its own experience, where the line
        drew on the whole population's: `population=4` trains four agents by the same schedule beside
        each other, with experience in common and seeds of their own.

        Args:
            schedule: as from `history.schedule()`, which None stands for; a list of dicts will do.
            fill: random steps first; None for as many per agent as the line had.
            options: of `Experiment`, in place of this one's, such as `seed=2` or `folder="runs/again"`.

        Returns:
            a new experiment, trained, with `.best`, `.history`, `.rollout()`; this one is not touched.

        Raises:
            ValueError: an empty schedule, an unknown column, a value outside its range, an
                architecture that the network's limits exclude; before training starts.
        """
        self._runner.refuse_while_running("replay")
        stages = stages_of(
            self._state.history.schedule() if schedule is None else schedule, self._config.algorithm
        )
        again = type(self)(**options_of(self._config, self._state, stages, options))
        prepare(again._state, again._config, self._state, stages)
        if self._config.algorithm.replays:
            steps = self._state.options.steps_per_generation
            again.fill(warm_up(again._state, steps, stages) if fill is None else fill)
        for stage in stages:
            if enter(again._state, stage):
                again.step()
        return again

    def certify(
        self,
        seeds: int = 16,
        *,
        config: object = None,
        max_steps: int | None = None,
        episodes: int = 20,
        target: float | None = None,
        seed: int | None = None,
    ) -> Certificate:
        """What the winner's settings are worth when they are used on one agent.

        All seeds train at once, as one population in which everyone learns from its own data alone:
        no agent is selected, mutated or drawn. Each makes as many updates per stored transition as the winner did.
        Where the population shared its experience, a seed has to take all of it itself: by default
        as many steps as all agents together had stored, which makes `seeds` times the run's
        training steps; the schedule changes where they stood when the winner's line changed. In
        PPO, or with `ReplayBuffer(shared=False)`, the winner's own steps are taken; from recorded
        data its updates. Weights that mutations changed are not repeated. Seeds of a run that began with trained
        weights (`load=`) begin with them too; one that was read from disk has forgotten them.

        Args:
            seeds: how many.
            config: in place of the winner's schedule, hyperparameters and options of `Experiment` by name, such as
                {"lr": 1e-3, "network": [64, 64]} or another run's `exp.config`; what is not named is as this
                experiment began. Or another schedule, as `history.schedule(agent)` gives.
            max_steps: environment steps of all seeds together, of which the evaluation is expected to take
                what the winner's episodes took; longer than the schedule, and its last settings go on.
            episodes: fresh greedy episodes of each seed's final agent.
            target: mean return that is looked for; None for the experiment's own.
            seed: that the seeds follow from; None for one that follows from the run's.

        Returns:
            a `Certificate` with `.mean`, `.interval`, `.per_seed`, `.returns`, `.reached`, `.steps`, `.figure()`
            and `.save(path)`; it shows itself. This experiment is not touched.

        Raises:
            LookupError: no generation has ended yet, and there is no `config`.
            ValueError: an experiment without an environment, a budget that is too small, an unknown setting.
            RuntimeError: training runs in the background.
        """
        self._runner.refuse_while_running("certify")
        aim = self._config.target if target is None else checks.finite("target", target)
        return certified(Wish(seeds, config, max_steps, episodes, seed), self._config, self._state, aim)
