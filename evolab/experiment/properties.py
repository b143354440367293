"""What there is to see of an experiment while it is trained: its parts, how far it is, how it is doing."""

from __future__ import annotations

from evolab.algorithms.base import Algorithm
from evolab.data.buffers.base import Buffer
from evolab.experiment.composition import ExperimentParts
from evolab.experiment.rollouts import chosen
from evolab.history.display import count, number
from evolab.history.events import Progress
from evolab.history.history import History
from evolab.population.agent import Agent
from evolab.population.population import Population


class Readings(ExperimentParts):
    """The properties of an experiment that nobody sets."""

    @property
    def population(self) -> Population:
        """The agents of today."""
        return self._state.population

    @property
    def buffer(self) -> Buffer:
        """Their experience."""
        return self._state.buffer

    @property
    def history(self) -> History:
        """Every finished generation; tables of fitness, mutations, hyperparameters, lineage."""
        return self._state.history

    @property
    def solved(self) -> bool:
        """True where the newest generation has shown that an agent averages the target."""
        return self._state.solved

    @property
    def confirmed(self) -> tuple[float, int] | None:
        """Mean return of the elite over fresh episodes, and how many these were; None before there were any."""
        hall = self._state.hall
        return (hall.fitness, hall.episodes) if hall.episodes else None

    @property
    def record(self) -> str:
        """What is known of the elite, in words."""
        return self._state.hall.described()

    @property
    def generation(self) -> int:
        """Finished generations."""
        return self._state.generation

    @property
    def total_steps(self) -> int:
        """Training steps of all agents, warm-up included; updates of all agents offline."""
        return self._state.total_steps

    @property
    def evaluation_steps(self) -> int:
        """Environment steps spent on evaluation, which `total_steps` does not count."""
        return self._state.evaluation_steps

    @property
    def best(self) -> Agent:
        """A copy of the best agent of the last generation.

        Raises:
            LookupError: no generation has ended yet.
        """
        if self._state.best is None:
            raise LookupError("no generation has ended yet, so no agent is best. Call exp.step() first.")
        return self._state.best.copy()  # the run itself may go back to this agent

    @property
    def elite(self) -> Agent:
        """The best agent ever that fresh episodes confirmed; its `fitness` is their mean.

        Raises:
            LookupError: no generation has ended yet.
        """
        return chosen(self._state, "elite")

    @property
    def name(self) -> str:
        """The environment's id, or what stands for it."""
        return self._state.envs.name if self._state.envs is not None else "data"

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm, with its options."""
        return self._config.algorithm

    @property
    def status(self) -> str:
        """What the run is doing: "idle", "running", "pausing", "paused", "stopping", "stopped" or "failed"."""
        return self._runner.status

    @property
    def version(self) -> int:
        """A number that grows with every change that a view may want to show."""
        return self._runner.version

    @property
    def progress(self) -> Progress | None:
        """How far the current phase is; None before the first."""
        return self._runner.progress

    @property
    def error(self) -> BaseException | None:
        """What ended the background thread, until the next call raises it."""
        return self._runner.error

    @property
    def summary(self) -> str:
        """What the run is, and how far."""
        state = self._state
        size = f"{len(state.population) if state.populated else self._config.population} {self.algorithm.name} agents"
        head = f"Experiment({self.name}, {size}, seed {self._config.seed}): {self.status}"
        if not self.history.generations:
            held = len(state.buffer)
            stored = f"{count(held)} transitions in the buffer" if held else "the buffer is empty"
            return f"{head}; no generation yet" + (
                f", {stored}" if self.algorithm.takes_others_experience else ""
            )
        last, survived = self.history.generations[-1], self.history.survived()
        return (
            f"{head}\n  generation {self.generation}, {count(self.total_steps)} steps "
            f"(and {count(self.evaluation_steps)} of evaluation)\n  best {number(last.fitness)} (agent {last.best.agent}), "
            f"{self.record}" + (f"\n  {survived}" if survived else "")
        )

    def __repr__(self) -> str:
        begun = (
            "exp.run(generations=10), exp.evaluate(100), exp.plot(), exp.dashboard(), exp.save('runs/mine')"
        )
        first = "exp.step(), exp.run(generations=10), exp.dashboard()"
        if not (self._state.learns_by_acting or len(self._state.buffer)):
            first = "exp.fill('data.h5')"
        return f"{self.summary}\n  next: {begun if self.history.generations else first}"
