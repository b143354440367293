"""Experiment: a population, its experience and its evolution, made for the cells of a notebook."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from evolab.algorithms.base import Algorithm
from evolab.core import checks, registry
from evolab.experiment.build import build, take_data
from evolab.experiment.callbacks import Callback, followed
from evolab.experiment.checkpointer import Checkpointer
from evolab.experiment.config.config import ExperimentConfig
from evolab.experiment.config.island_options import for_one
from evolab.experiment.config.options import documented, signature
from evolab.experiment.evaluating import Evaluating
from evolab.experiment.live_settings import Settings
from evolab.experiment.retraining import Retraining
from evolab.experiment.runner import Runner
from evolab.experiment.saving import Saving
from evolab.experiment.views import Views
from evolab.history.events import Event, Generation
from evolab.history.history import History
from evolab.reporting.outlook import Outlook
from evolab.reporting.progress import bar
from evolab.reporting.trackers.tracker import RunFacts
from evolab.reporting.trackers.trackers import Trackers
from evolab.training.act_and_learn import fill, fill_within, warm_up_steps
from evolab.training.advice import reached_before
from evolab.training.loop import train


class Experiment(Settings, Retraining, Evaluating, Views, Saving):
    """Evolve a population of agents: fill, step, look, change something, step on.

    {options}

    Raises:
        ValueError: an unknown name or a value outside its range.
        TypeError: an algorithm that cannot act in the environment.

    Example:
        >>> exp = Experiment("CartPole-v1", algorithm="DQN", population=2, seed=1)
        >>> exp.fill(200)
        >>> exp.generation
        0
    """

    def __new__(cls, *given: object, **options: object) -> Any:
        """An experiment; where `islands` are asked for, one with the same methods that trains them."""
        if options.get("islands") is not None:
            return registry.above("Islands").made(*given, **options)
        return super().__new__(cls)

    def __init__(
        self, environment: object = None, algorithm: str | Algorithm | None = None, **options: object
    ) -> None:
        given = {"environment": environment, "algorithm": algorithm, **for_one(options)}
        self._config = ExperimentConfig.made(given)
        self._state = build(self._config)
        self._runner = Runner(self._state)
        self._trackers = Trackers(self._config.trackers)
        self._checkpointer = Checkpointer(
            self._state,
            self._about,
            folder=self._config.folder,
            every=self._config.checkpoint_every,
            keep=self._config.keep,
        )
        if self._config.data is not None:
            self.fill(self._config.data)

    # Data -------------------------------------------------------------------------------------

    def fill(self, source: object) -> None:
        """Put experience into the buffer before training.

        Args:
            source: a number of environment steps in total, taken at random over the population, no more than the
                buffer keeps;
                or data: the path of an HDF5 file, a Minari id, an `ev.Dataset`, a dict of arrays. In a
                language environment a number of random episodes, a `TokenDataset`, or the path of one.

        Raises:
            DatasetError: the data are damaged or do not fit the environment; nothing is changed.
        """
        self._runner.refuse_while_running("fill")
        state, steps = self._state, isinstance(source, int) and not isinstance(source, bool)
        if not self.algorithm.takes_others_experience:
            alone = f"{self.algorithm.name} learns from its own newest steps alone: nothing can be filled in."
            if not steps:
                raise ValueError(alone)
            warnings.warn(alone, stacklevel=2)
            return
        acted = steps and self._config.language is None
        if acted and state.envs is None:
            raise ValueError(
                "random rollouts need an environment; this experiment has none. Pass data instead."
            )
        if acted:
            state.place_buffer()
            count = fill_within(state, checks.positive_integer("fill", source))
            with bar("filling", count, self._config.progress) as show, self._runner.interruptible():
                self._runner.follow(fill(state, count), show)
        else:
            take_data(state, self._config, source)
        self._runner.changed()

    # Training ---------------------------------------------------------------------------------

    def step(self) -> Generation:
        """One generation: learn, evaluate, select, mutate. Shows a progress bar; returns what happened.

        Ctrl-C (the kernel's interrupt) stops it at the next step of the environments; the
        next call goes on where this one stopped.
        """
        self.run(generations=1)
        return self._state.history.generations[-1]

    def run(
        self,
        generations: int | None = None,
        *,
        max_steps: int | None = None,
        target: float | None = None,
        minutes: float | None = None,
        callback: Callback | None = None,
    ) -> History:
        """Generations until a goal is met.

        Args:
            generations: so many more generations.
            max_steps: until training and evaluation have taken so many steps in all; the last generation, and a
                confirmation, are cut to what is left.
            target: until the best agent averages this return over fresh episodes (20, then 80 more); None for
                the experiment's own target, if it has one.
            minutes: for so much time, on the clock; the last generation learns for less, so that there is time to
                evaluate it. Where evaluation takes longer than before, it stops in between, and the next call goes on.
            callback: is called with each finished `Generation`; returns True (or raises StopIteration) to end the run.

        Returns:
            the history, so that it shows at the end of a cell.

        Raises:
            ValueError: no goal at all, or an empty buffer.
        """
        if all(goal is None for goal in (generations, max_steps, target, self.target, minutes, callback)):
            raise ValueError(
                "run() needs a goal: generations=20, max_steps=300_000, minutes=10 or target=200.0."
            )
        events = self._training("step", (generations, max_steps), target, minutes)
        events = followed(events, callback, self._checkpointer.after)
        if target is not None:
            self._config = self._config.changed("target", target)
        outlook = Outlook(self._state, generations, max_steps, minutes)
        with bar("training", self._state.expected_steps, self._config.progress, outlook) as show:
            self._runner.run(events, show)
        return self._state.history

    def start(
        self,
        generations: int | None = None,
        *,
        max_steps: int | None = None,
        target: float | None = None,
        minutes: float | None = None,
        callback: Callback | None = None,
    ) -> None:
        """As `run`, on a background thread; the notebook stays usable. Without a goal, until paused."""
        events = self._training("start", (generations, max_steps), target, minutes)
        events = followed(events, callback, self._checkpointer.after)
        self._runner.start(events, at_exit=self.close)

    def pause(self) -> None:
        """Stop at the next step of the environments; `start`, `run` and `step` go on from there."""
        self._runner.halt("paused")

    def stop(self) -> None:
        """As `pause`, and the status then says "stopped"; `start`, `run` and `step` go on from there all the same."""
        self._runner.halt("stopped")

    def wait(self, timeout: float | None = None) -> str:
        """Wait until the background thread has stopped; returns the status, raises its error."""
        return self._runner.wait(timeout)

    def _training(
        self, what: str, steps: tuple[int | None, int | None], target: float | None, minutes: float | None
    ) -> Iterator[Event]:
        """The events of training, once everything is in place for it."""
        for name, goal in zip(("generations", "max_steps"), steps, strict=True):
            if goal is not None:
                checks.positive_integer(name, goal)
        time = None if minutes is None else checks.positive("minutes", minutes)
        aim = self.target if target is None else checks.finite("target", target)
        self._runner.refuse_while_running(what)
        state = self._state
        if steps[0] is None and (what == "step" or target is not None) and reached_before(state, aim):
            return iter(())
        warm_up = warm_up_steps(state, steps[1])
        self._checkpointer.ready()
        self._trackers.start(self._facts)
        state.place_buffer()
        return self._recorded(train(state, *steps, aim, time, warm_up))

    def _recorded(self, events: Iterator[Event]) -> Iterator[Event]:
        """The same events, each written down before it is passed on."""
        try:
            for event in events:
                if isinstance(event, Generation):
                    self._trackers.log(event)
                self._checkpointer.after(event)
                yield event
        except Exception:
            self._checkpointer.failed()
            raise

    def _about(self) -> dict[str, Any]:
        own = self._config.own(self._state.population.network)
        return {"name": self.name, "config": self.config, "own": own}

    def _facts(self) -> RunFacts:
        return RunFacts(
            run_id=self._checkpointer.run_id,
            run_name=f"{self.algorithm.name}-{self.name}-{self._config.seed}",
            folder=self._checkpointer.folder,
            resumed=self.generation,
            config=self.config,
        )

    def close(self) -> None:
        """End the background thread and close the environments."""
        self.pause()
        self._runner.join()
        self._trackers.finish(None if self._state.best is None else lambda: self.rollout(agent="elite"))
        self._checkpointer.close()
        self._state.close()


Experiment.__signature__ = signature()  # type: ignore[attr-defined]  # so that editors show the options
Experiment.__doc__ = (Experiment.__doc__ or "").replace("{options}", documented())
