"""Experiment: a population, its experience and its evolution, made for the cells of a notebook."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolab.algorithms.base import Algorithm
from evolab.core import checks
from evolab.core.plain import to_plain
from evolab.data.buffers.base import Buffer
from evolab.envs.factory import VectorMaker
from evolab.experiment.build import build, described, take_data
from evolab.experiment.checkpointer import Checkpointer
from evolab.experiment.config import ExperimentConfig, Source, documented, signature
from evolab.experiment.loading import SavedRun, open_run
from evolab.experiment.retraining import Retraining
from evolab.experiment.rollouts import chosen, played
from evolab.experiment.runner import Runner
from evolab.experiment.settings import Settings, read_only, setting_names
from evolab.history.events import Event, Generation, Progress
from evolab.history.history import History
from evolab.population.agent import Agent
from evolab.population.population import Population
from evolab.reporting.panels.output import release_shown
from evolab.reporting.panels.panel import Plot
from evolab.reporting.panels.rollout import Rollout
from evolab.reporting.progress import bar
from evolab.reporting.trackers.tracker import RunFacts
from evolab.reporting.trackers.trackers import Trackers
from evolab.training.learning import fill, warm_up_steps
from evolab.training.loop import train

if TYPE_CHECKING:
    from evolab.reporting.panels.dashboard import Dashboard


class Experiment(Settings, Retraining):
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

    def __init__(
        self, environment: Any = None, algorithm: str | Algorithm | None = None, **options: Any
    ) -> None:
        self._config = ExperimentConfig.made({"environment": environment, "algorithm": algorithm, **options})
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

    def fill(self, source: Any) -> None:
        """Put experience into the buffer before training.

        Args:
            source: a number of environment steps in total, taken at random over the population;
                or data: the path of an HDF5 file, a Minari id, an `ev.Dataset`, a dict of arrays. In a
                language environment a number of random episodes, a `TokenDataset`, or the path of one.

        Raises:
            DatasetError: the data are damaged or do not fit the environment; nothing is changed.
        """
        self._runner.refuse_while_running("fill")
        state, steps = self._state, isinstance(source, int) and not isinstance(source, bool)
        if self.algorithm.on_policy:
            alone = f"{self.algorithm.name} learns from its own newest steps alone: nothing can be filled in."
            if not steps:
                raise ValueError(alone)
            warnings.warn(alone, stacklevel=2)
            return
        acted = steps and not self.algorithm.reads_tokens
        if acted and state.envs is None:
            raise ValueError(
                "random rollouts need an environment; this experiment has none. Pass data instead."
            )
        if acted:
            state.place_buffer()
            count = checks.positive_integer("fill", source)
            with bar("filling", count, self._config.progress) as show, self._runner.interruptible():
                self._runner.follow(fill(state, count), show)
        else:
            take_data(state, self._config, source)
        self._runner.changed()

    # Training ---------------------------------------------------------------------------------

    def step(self) -> Generation:
        """One generation: learn, evaluate, select, mutate. Shows a progress bar; returns what happened.

        Ctrl-C (the kernel's interrupt) is honoured at the next step of the environments; the
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
    ) -> History:
        """Generations until a goal is met.

        Args:
            generations: so many more generations.
            max_steps: until training and evaluation have taken so many steps in all; the last generation, and a
                confirmation, are cut to what is left.
            target: until the best agent averages this return over fresh episodes (20, then 80 more); None for
                the experiment's own target, if it has one.
            minutes: for so much time, on the clock; the last generation learns for less, so that there is time to
                evaluate it. Where that takes longer than before, it rests under way, and the next call goes on.

        Returns:
            the history, so that it shows at the end of a cell.

        Raises:
            ValueError: no goal at all, or an empty buffer.
        """
        if all(goal is None for goal in (generations, max_steps, target, self.target, minutes)):
            raise ValueError(
                "run() needs a goal: generations=20, max_steps=300_000, minutes=10 or target=200.0."
            )
        events = self._training("step", (generations, max_steps), target, minutes)
        if target is not None:
            self._config = self._config.changed("target", target)
        with bar("training", self._state.expected_steps, self._config.progress) as show:
            self._runner.run(events, show)
        return self._state.history

    def start(
        self,
        generations: int | None = None,
        *,
        max_steps: int | None = None,
        target: float | None = None,
        minutes: float | None = None,
    ) -> None:
        """As `run`, on a background thread; the notebook stays usable. Without a goal, until paused."""
        events = self._training("start", (generations, max_steps), target, minutes)
        self._runner.start(events, at_exit=self.close)

    def pause(self) -> None:
        """Stop at the next step of the environments; `start`, `run` and `step` go on from there."""
        self._runner.halt("paused")

    def stop(self) -> None:
        """As `pause`; the figures then say that the run was ended."""
        self._runner.halt("stopped")

    def wait(self, timeout: float | None = None) -> str:
        """Wait for the background thread to come to rest; returns the status, raises its error."""
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
        population = state.population
        self._checkpointer.ready()
        self._trackers.start(self._facts)
        state.place_buffer()
        events: Iterator[Event] = train(state, *steps, aim, time)
        if not self.algorithm.on_policy:
            least = population.table.least_experience
            if not state.buffer.ready(least):
                if self.algorithm.offline or state.envs is None:
                    raise ValueError("there are no data yet. Call exp.fill('data.h5') first.")
                wanted = warm_up_steps(state, steps[1])
                events = itertools.chain(fill(state, wanted) if wanted else (), events)
        return self._recorded(events)

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

    # What there is to see ---------------------------------------------------------------------

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
        """What the run is doing: "idle", "running", "stopping", "paused", "stopped" or "failed"."""
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

    # On disk ----------------------------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        """Every option as plain values; `Experiment.from_config` makes the same run from it."""
        return read_only(described(self._config, self._state))

    @property
    def folder(self) -> Path | None:
        """Where checkpoints are written by themselves; None for nowhere."""
        return self._checkpointer.folder

    @folder.setter
    def folder(self, folder: str | PathLike[str] | None) -> None:
        self._checkpointer.move(None if folder is None else Path(folder).expanduser())

    @classmethod
    def from_config(cls, source: Source, **own: Any) -> Experiment:
        """An experiment from a dict or from a .yaml or .json file; keyword arguments win.

        Raises:
            ValueError: an unknown option.
        """
        return cls(**ExperimentConfig.from_plain(source, **own).options())

    def save(self, folder: str | PathLike[str] | None = None, *, overwrite: bool = False) -> Path:
        """Write a checkpoint that `Experiment.load` goes on from: bit for bit, if a seeded reset renews its environments.

        A checkpoint holds whole generations: while a background thread trains, this waits for the
        end of its generation; where one was stopped midway, the run as it was at its beginning is
        saved, and a warning says so.

        Args:
            folder: such as "runs/lander"; None for where the run is kept already.
            overwrite: replace another run that is there.

        Raises:
            FileExistsError: the folder holds another run.
            RuntimeError: another process, or another experiment, writes there.
            OSError: the disk is full or the folder read-only; what was there is untouched.
        """
        self._runner.raise_past_error()
        path = self._checkpointer.place(None if folder is None else Path(folder).expanduser())
        if not self._runner.between_generations(lambda: self._checkpointer.write(path, overwrite)):
            with self._runner.lock:
                self._checkpointer.write_boundary(path, overwrite)
        return path

    @classmethod
    def load(
        cls,
        folder: str | PathLike[str],
        environment: Any = None,
        algorithm: Any = None,
        network: Any = None,
        *,
        generation: int | None = None,
        **own: Any,
    ) -> Experiment:
        """Go on with a saved run as if it had never stopped; see `save`.

        Args:
            folder: as given to `save`.
            environment: pass the callable where the environment is your own.
            algorithm: pass the object where the algorithm is your own.
            network: pass the object where the network is your own.
            generation: one of those kept; None for the newest that is whole.
            own: any further option of `Experiment`, in place of the saved one, but those that the saved
                agents have settled, such as `population` and `network`.

        Raises:
            FileNotFoundError: no run there.
            ValueError: every generation is damaged (the files are named), or a part of your own is missing.
        """
        given = {"environment": environment, "algorithm": algorithm, "network": network}
        own |= {name: value for name, value in given.items() if value is not None}
        if "vector" in own:
            own["environment"] = VectorMaker(own.pop("vector"))
        found = open_run(Path(folder).expanduser(), generation)
        experiment = cls(**found.config(own).options())
        experiment._go_on_with(found)
        for name in own.keys() & {*setting_names()}:
            experiment._state.note(name, to_plain(getattr(experiment, name)))
        return experiment

    def _go_on_with(self, found: SavedRun) -> None:
        found.restore(self._state, self._config)
        folder = found.folder.path if found.state["automatic"] else None
        self._checkpointer.adopt(found.folder, str(found.state["run"]), folder)

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

    # Views ------------------------------------------------------------------------------------

    def rollout(
        self,
        episodes: int = 1,
        max_steps: int | None = None,
        agent: Agent | str | int = "best",
        seed: int | None = None,
    ) -> Rollout:
        """Play episodes and keep the pictures.

        Args:
            episodes: how many.
            max_steps: longest episode; None for the environment's own limit.
            agent: "best", "elite", the id of a living agent, or an `Agent`.
            seed: of the first episode; None for one that follows from the run's.

        Returns:
            a `Rollout` with `.returns`, `.frames`, `.observations`, `.save("x.gif")`; it shows itself.
        """
        with self._runner.lock:
            actor = chosen(self._state, agent)
        return played(self._state, self._config.environment, actor, episodes, max_steps, seed)

    @property
    def plot(self) -> Plot:
        """Figures of the run: `exp.plot.fitness()`, `.hyperparameters()`, `.lineage()`, `.mutations()`, `.losses()`."""
        return Plot(self.history, self.target)

    def dashboard(self, **options: Any) -> Dashboard:
        """The live dashboard, a widget: Step, Run, Pause, Stop and everything that evolves."""
        from evolab.reporting.panels.dashboard import Dashboard

        return Dashboard(self, **options)

    def report(self, path: str | PathLike[str] | None = None) -> Path:
        """Write one self-contained page of the whole run; None for report.html in the run's folder, if it has one."""
        from evolab.reporting.panels.report import write_report

        return write_report(self, path)

    def close(self) -> None:
        """End the background thread and close the environments."""
        self.pause()
        self._runner.join()
        self._trackers.finish(None if self._state.best is None else lambda: self.rollout(agent="elite"))
        self._checkpointer.close()
        self._state.close()

    def __repr__(self) -> str:
        state = self._state
        size = f"{len(state.population) if state.populated else self._config.population} {self.algorithm.name} agents"
        head = f"Experiment({self.name}, {size}, seed {self._config.seed}): {self.status}"
        if not self.history.generations:
            count = len(state.buffer)
            stored = f"{count:,} transitions in the buffer" if count else "the buffer is empty"
            return f"{head}; no generation yet" + ("" if self.algorithm.on_policy else f", {stored}")
        last, survived = self.history.generations[-1], self.history.survived()
        return (
            f"{head}\n  generation {self.generation}, {self.total_steps:,} steps "
            f"(and {self.evaluation_steps:,} of evaluation)\n  best {last.fitness:.1f} (agent {last.best.agent}), "
            f"{self.record}" + (f"\n  {survived}" if survived else "")
        )

    def _ipython_display_(self) -> None:
        """The dashboard, as the last expression of a cell."""
        self.dashboard()._ipython_display_()
        release_shown(self)


Experiment.__signature__ = signature()  # type: ignore[attr-defined]  # so that editors show the options
Experiment.__doc__ = (Experiment.__doc__ or "").replace("{options}", documented())
