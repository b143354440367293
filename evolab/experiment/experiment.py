"""Experiment: a population, its experience and its evolution, made for the cells of a notebook."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from evolab.algorithms.base import Algorithm
from evolab.algorithms.options import algorithm_named
from evolab.core import checks
from evolab.core.device import precision_named
from evolab.core.plain import from_plain
from evolab.core.ranges import Range
from evolab.core.rng import fresh_seed, seed_of
from evolab.data.buffers.replay import ReplayBuffer
from evolab.data.buffers.rollout import RolloutBuffer
from evolab.evolution.hall_of_fame import CONFIRMATION
from evolab.evolution.mutation.mutations import Mutations
from evolab.evolution.selection.base import Selection
from evolab.evolution.selection.tournament import Tournament
from evolab.experiment import config
from evolab.experiment.build import assemble, describe, take_data
from evolab.experiment.checkpointer import Checkpointer, load_experiment
from evolab.experiment.language import filled
from evolab.experiment.runner import Runner
from evolab.experiment.shorthands import buffer_of, mutations_of, selection_named
from evolab.networks.base import Network
from evolab.population.population import Population
from evolab.reporting.progress import bar
from evolab.training.learning import fill

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

    from evolab.history.history import History
    from evolab.population.agent import Agent


class Experiment(Runner):
    """Evolve a population of agents: fill, step, look, change something, step on.

    Args:
        environment: an id, a callable that makes a Gymnasium environment, a language environment
            such as `ev.envs.WordGame()`, or None to learn from data without a simulator.
        algorithm: a name such as "TD3", or an object such as `ev.TD3(ou_noise=True)`.
        population: P, the number of agents.
        num_envs: environments of each agent.
        network: where the architecture starts; None for one that suits the observations.
        hyperparameters: starting values by name.
        search_space: ranges of the hyperparameters that mutate; None for the algorithm's own.
        selection: who survives; None for a tournament of two with elitism.
        mutations: what changes in the newborn; None for the defaults.
        buffer: where experience is kept; None for a shared one of 100 000 transitions, or of the data set's
            size, or for PPO for rollouts of 256 steps in each environment. A number sets these.
        steps_per_generation: environment steps of each agent; updates of each agent offline.
        eval_episodes: whole episodes behind each agent's fitness; None for one, and for every starting
            point of a language environment, which are then the same in all generations.
        eval_steps: longest evaluation episode; None for the environment's own limit.
        confirmation: fresh episodes that confirm the best agent where it promises a record; four times as many
            follow where they reach the target.
        update_ratio: updates per agent and environment step of its own, at a learn step of 1.
        evolving: False keeps the population as it is: no selection, no mutation.
        revive: True to have the archived elite return in place of the worst agent when nobody reaches
            its confirmed fitness any more; "resting" to give it one place for as long as nobody is
            confirmed to be better, where it acts and its policy doesn't change. Both after the
            selection's warm-up.
        draw: draw the first hyperparameters at random from the search space.
        load: start from an agent (or its folder), or from a folder with a GPT-2 in Hugging Face's form.
        fitness: "return" (episodes in the environment), "fqe", or an object such as `ev.FQE(...)`.
        target: draw this return in the figures, and stop `run` there.
        seed: of everything; None for a fresh one.
        device: "auto", "cpu" or "cuda".
        dtype: of the parameters.
        precision: of matrix products on CUDA, "float32" or the faster "tf32"; other devices ignore it.
        vectorization: "sync", or "async" for one process per environment.
        overlap: let "async" environments step while the agents learn: they then act by the policies
            before the newest updates. It pays for slow environments.
        folder: write checkpoints there by itself; None for none but those of `save`.
        checkpoint_every: generations between two of them, or a time such as "10 min".
        keep: newest checkpoints to keep; the best one is kept as well.
        trackers: where else to write the run down: "csv", "jsonl", "tensorboard", "wandb", "mlflow",
            or objects with `start`, `log` and `finish`.

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
        self,
        environment: str | Callable[..., Any] | None,
        algorithm: str | Algorithm = "TD3",
        *,
        population: int = 4,
        num_envs: int = 8,
        network: Network | Sequence[int] | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
        search_space: Mapping[str, Range] | None = None,
        selection: Selection | None = None,
        mutations: Mutations | None = None,
        buffer: ReplayBuffer | RolloutBuffer | int | None = None,
        steps_per_generation: int = 10_000,
        eval_episodes: int | None = None,
        eval_steps: int | None = None,
        confirmation: int = CONFIRMATION,
        update_ratio: float = 1.0,
        evolving: bool = True,
        revive: bool | str = False,
        draw: bool = False,
        load: Any = None,
        fitness: Any = "return",
        target: float | None = None,
        seed: int | None = None,
        device: str = "auto",
        dtype: torch.dtype = torch.float32,
        precision: str = "float32",
        vectorization: str = "sync",
        overlap: bool = False,
        folder: str | PathLike[str] | None = None,
        checkpoint_every: Any = 1,
        keep: int = 3,
        trackers: Any = (),
    ) -> None:
        size = checks.positive_integer("population", population)
        checks.positive_integer("steps_per_generation", steps_per_generation)
        for name, value in (("eval_episodes", eval_episodes), ("eval_steps", eval_steps)):
            if value is not None:
                checks.positive_integer(name, value)
        checks.finite("update_ratio", update_ratio, low=1e-6)
        self._seed = fresh_seed() if seed is None else checks.positive_integer("seed", seed, minimum=0)
        selection = Tournament(size=min(2, size)) if selection is None else selection_named(selection)
        selection.check(size)
        algorithm, mutations = algorithm_named(algorithm), mutations_of(mutations)
        buffer = buffer_of(buffer, algorithm.on_policy)
        if algorithm.on_policy and update_ratio != 1:
            raise ValueError(f"{algorithm.name} has no update_ratio; set hyperparameters={{'epochs': ...}}.")
        self._options = {
            "environment": environment,
            "algorithm": algorithm,
            "population": size,
            "num_envs": num_envs,
            "hyperparameters": hyperparameters,
            "search_space": search_space,
            "network": network,
            "draw": draw,
            "load": load,
            "eval_episodes": eval_episodes,
            "device": device,
            "dtype": dtype,
            "precision": precision_named(precision),
            "vectorization": vectorization,
            "overlap": overlap,
            "fitness": fitness,
            "buffer": buffer,
            "steps_per_generation": steps_per_generation,
            "eval_steps": eval_steps,
            "confirmation": confirmation,
            "update_ratio": update_ratio,
            "evolving": evolving,
            "revive": revive,
        }
        default = RolloutBuffer() if algorithm.on_policy else ReplayBuffer()
        buffer = default if buffer is None else buffer
        super().__init__(assemble(self._options, self._seed, selection, mutations, buffer), target)
        self._keeper = Checkpointer(self, folder, checkpoint_every, keep, trackers)

    # Data -------------------------------------------------------------------------------------

    def fill(self, source: Any) -> None:
        """Put experience into the buffer before training.

        Args:
            source: a number of environment steps in total, taken at random over the population;
                or data: the path of an HDF5 file, a Minari id, an `ev.Dataset`, a dict of arrays. In a
                language environment a number of random games, a `TokenDataset`, or the path of one.

        Raises:
            DatasetError: the data are damaged or do not fit the environment; nothing is changed.
        """
        self._refuse_while_running("fill")
        if self.algorithm.on_policy:
            alone = f"{self.algorithm.name} learns from its own newest steps alone: nothing can be filled in."
            if not isinstance(source, int):
                raise ValueError(alone)
            warnings.warn(alone, stacklevel=2)
            return
        if self.algorithm.reads_tokens:
            self._run.learn_from(filled(source, self._options, self._seed, self.population.device))
            self.version += 1
            return
        if isinstance(source, int) and not isinstance(source, bool):
            if self._run.envs is None:
                raise ValueError(
                    "random rollouts need an environment; this experiment has none. Pass data instead."
                )
            self._run.place_buffer()
            with bar("filling", checks.positive_integer("fill", source)) as show, self._interruptible():
                for progress in fill(self._run, source):
                    show(progress)
                    self._note(progress)
                    self._raise_interrupt()
            return
        take_data(self._run, self._options, self._seed, source)
        self.version += 1

    def replay(self, schedule: Any = None, *, fill: int | None = None, **options: Any) -> Experiment:
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
        from evolab.experiment.replay import replay

        self._refuse_while_running("replay")
        return replay(self, schedule, fill, options)  # type: ignore[no-any-return]

    # What there is to see ---------------------------------------------------------------------

    @property
    def population(self) -> Population:
        """The agents of today."""
        return self._run.population

    @property
    def buffer(self) -> ReplayBuffer | RolloutBuffer:
        """Their experience."""
        return self._run.buffer

    @property
    def history(self) -> History:
        """Every finished generation; tables of fitness, mutations, hyperparameters, lineage."""
        return self._run.history

    @property
    def generation(self) -> int:
        """Finished generations."""
        return self._run.generation

    @property
    def total_steps(self) -> int:
        """Training steps of all agents, warm-up included; updates of all agents offline."""
        return self._run.total_steps

    @property
    def evaluation_steps(self) -> int:
        """Environment steps spent on evaluation, which `total_steps` does not count."""
        return self._run.evaluation_steps

    @property
    def best(self) -> Agent:
        """A copy of the best agent of the last generation.

        Raises:
            LookupError: no generation has ended yet.
        """
        if self._run.best is None:
            raise LookupError("no generation has ended yet, so nobody is best. Call exp.step() first.")
        return self._run.best.copy()  # the run itself may go back to this agent

    @property
    def elite(self) -> Agent:
        """The best agent ever that fresh episodes confirmed; its `fitness` is their mean.

        Raises:
            LookupError: no generation has ended yet.
        """
        if self._run.hall.elite is None:
            raise LookupError("no agent has been confirmed yet. Call exp.step() first.")
        return self._run.hall.elite.copy()

    @property
    def name(self) -> str:
        """The environment's id, or what stands for it."""
        return self._run.envs.name if self._run.envs is not None else "data"

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm, with its options."""
        return self._options["algorithm"]  # type: ignore[no-any-return]

    @property
    def mutations(self) -> Mutations:
        """What changes in the newborn; set another one and it holds from the next generation on."""
        return self._run.mutations

    @mutations.setter
    def mutations(self, mutations: Mutations) -> None:
        if not isinstance(mutations, Mutations):
            raise TypeError(f"mutations is {mutations!r}; ev.Mutations(...) is expected.")
        self._run.change(mutations=mutations)
        self.version += 1

    @property
    def selection(self) -> Selection:
        """Who survives; set another one and it holds from the next generation on."""
        return self._run.selection

    @selection.setter
    def selection(self, selection: Selection) -> None:
        selection.check(self._options["population"])
        self._run.change(selection=selection)
        self.version += 1

    @property
    def config(self) -> dict[str, Any]:
        """Every option as plain values; `Experiment.from_config` makes the same run from it."""
        keeping = {
            "checkpoint_every": self._keeper.every,
            "keep": self._keeper.keep,
            "trackers": self._keeper.trackers.names,
        }
        own = {"target": self.target, "seed": self._seed, **keeping}
        return describe(self._options, self._run, own)

    @classmethod
    def from_config(cls, source: Any, **overrides: Any) -> Experiment:
        """An experiment from a dict or from a .yaml or .json file; keyword arguments win.

        Raises:
            ValueError: an unknown option.
        """
        import inspect

        options = {name: from_plain(value) for name, value in config.read(source).items()} | overrides
        known = [name for name in inspect.signature(cls.__init__).parameters if name != "self"]
        for name in options:
            if name not in known:
                raise checks.unknown("option of Experiment", name, known)
        if isinstance(options.get("dtype"), str):
            options["dtype"] = getattr(torch, options["dtype"])
        return cls(options.pop("environment", None), **options)

    def save(self, folder: str | PathLike[str] | None = None, *, overwrite: bool = False) -> Path:
        """Write a checkpoint that `Experiment.load` goes on from, bit for bit.

        A checkpoint holds whole generations: while a background thread trains, this waits for the
        end of its generation.

        Args:
            folder: such as "runs/lander"; None for where the run is kept already.
            overwrite: replace another run that is there.

        Raises:
            FileExistsError: the folder holds another run.
            RuntimeError: the run rests in the middle of a generation, or another process writes there.
            OSError: the disk is full or the folder read-only; what was there is untouched.
        """
        self._raise_past_error()
        return self._keeper.save(folder, overwrite)

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
        """Go on with a saved run as if it had never stopped.

        Args:
            folder: as given to `save`.
            environment: pass the callable where the environment is your own.
            algorithm: pass the object where the algorithm is your own.
            network: pass the object where the network is your own.
            generation: one of those kept; None for the newest that is whole.
            own: any further option of `Experiment`, in place of the saved one.

        Raises:
            FileNotFoundError: no run there.
            ValueError: every generation is damaged (the files are named), or a part of your own is missing.
        """
        own |= {"environment": environment, "algorithm": algorithm, "network": network}
        return load_experiment(cls, folder, generation, own)

    def rollout(
        self, episodes: int = 1, max_steps: int | None = None, agent: Any = "best", seed: int | None = None
    ) -> Any:
        """Play episodes and keep the pictures.

        Args:
            episodes: how many.
            max_steps: longest episode; None for the environment's own limit.
            agent: "best", "elite", the id of a living agent, or an `Agent`.
            seed: of the first episode; None for one that follows from the run's.

        Returns:
            a `Rollout` with `.returns`, `.frames`, `.observations`, `.save("x.gif")`; it shows itself.
        """
        from evolab.evaluation.episodes import play
        from evolab.population.language import voice
        from evolab.reporting.panels.rollout import Rollout

        if self._run.envs is None:
            raise ValueError("a rollout needs an environment; this experiment has none.")
        actor = voice(self._agent(agent), self._options["environment"])
        env = self._stage()
        start = seed_of(self._seed, self.generation, "rollout") % 2**31 if seed is None else seed
        try:
            returns, frames, observations = play(
                actor, env, checks.positive_integer("episodes", episodes), max_steps, start
            )
            fps = float(env.metadata.get("render_fps") or 30)
        finally:
            env.close()
        return Rollout(returns=returns, frames=frames, observations=observations, fps=fps)

    def _stage(self) -> Any:
        """One environment to be watched; one without pictures where it cannot be drawn."""
        assert self._run.envs is not None
        try:
            return self._run.envs.render_env()
        except ValueError:
            if callable(self._options["environment"]):
                return self._options["environment"]()
            raise

    def _agent(self, agent: Any) -> Agent:
        if agent == "best":
            if self._run.best is None:
                return self.population[0].copy()
            return self.best
        if agent == "elite":
            return self.elite
        if isinstance(agent, int):
            with self._lock:
                return self.population[self.population.row(agent)].copy()
        if hasattr(agent, "act"):
            return agent  # type: ignore[no-any-return]
        raise checks.unknown("agent", agent, ["best", "elite", "an agent's id"])

    @property
    def plot(self) -> Any:
        """Figures of the run: `exp.plot.fitness()`, `.hyperparameters()`, `.lineage()`, `.mutations()`."""
        from evolab.reporting.panels.panel import Plot

        return Plot(self.history, self.target)

    def dashboard(self, **options: Any) -> Any:
        """The live dashboard, a widget: Step, Run, Pause, Stop and everything that evolves."""
        from evolab.reporting.panels.dashboard import Dashboard

        return Dashboard(self, **options)

    def report(self, path: str | PathLike[str] = "report.html") -> Any:
        """Write one self-contained page of the whole run."""
        from evolab.reporting.panels.report import write_report

        return write_report(self, path)

    def close(self) -> None:
        """End the background thread and close the environments."""
        self.pause()
        if self._thread is not None:
            self._thread.join()
        self._keeper.close()
        self._run.close()

    def __repr__(self) -> str:
        run = self._run
        size = f"{self._options['population']} {self.algorithm.name} agents"
        head = f"Experiment({self.name}, {size}, seed {self._seed}): {self.status}"
        if not self.history.generations:
            filled = (
                f"{len(run.buffer):,} transitions in the buffer" if len(run.buffer) else "the buffer is empty"
            )
            return f"{head}; no generation yet" + ("" if self.algorithm.on_policy else f", {filled}")
        last = self.history.generations[-1]
        return (
            f"{head}\n  generation {self.generation}, {self.total_steps:,} steps "
            f"(and {self.evaluation_steps:,} of evaluation)\n  best {last.fitness:.1f} (agent {last.best.agent}), "
            f"elite {run.hall.fitness:.1f}"
        )

    def _ipython_display_(self) -> None:
        """The dashboard, as the last expression of a cell."""
        self.dashboard()._ipython_display_()
