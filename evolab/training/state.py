"""The state of a run: what it is made of, and how far it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from evolab.core import checks
from evolab.data.buffers.base import Buffer
from evolab.envs.base import Environments
from evolab.evaluation.episodes import LONGEST
from evolab.evaluation.evaluator import Evaluator
from evolab.evaluation.fitness import Fitness
from evolab.evaluation.training_fitness import TrainingEpisodes
from evolab.evolution.hall_of_fame import HallOfFame
from evolab.evolution.immigration import Immigrant
from evolab.evolution.mutation.mutations import Mutations
from evolab.evolution.selection.base import Selection
from evolab.history.events import Generation, Progress
from evolab.history.history import History
from evolab.population.agent import Agent
from evolab.population.population import Population
from evolab.training.budget import Budget
from evolab.training.default_update_ratio import update_ratio_for
from evolab.training.options import TrainingOptions
from evolab.training.set_from_outside import Changes


class TrainingState:
    """What a run is made of, and how far it is. Other files change it by its methods alone.

    Args:
        population: the agents; None until data tell the spaces that they live in.
        buffer: their experience.
        envs: training environments; None offline.
        selection: who survives.
        mutations: what changes in the newborn.
        fitness: what decides who is best.
        beside: a measure that is recorded beside it; None for none.
        evaluator: plays episodes in the environment; None without one.
        hall: the archived elite, and what becomes of it.
        options: what the configuration fixes.
        episodes: of training, in the generation under way or the last one; a measure of fitness may read them.

    Attributes:
        history: every finished generation.
        generation: finished generations.
        total_steps: training steps of all agents, warm-up included.
        by_hand: environment steps of evaluations that the user has asked for.
        best: a copy of the best agent of the last generation; None before the first.
        target: mean return that is looked for; what `train` was asked last.
        budget: what `train` may use, a generation under way included.
        cut: the newest generation was shorter than it should have been, because the budget was spent.
        changes: what was set since the last generation ended.
        interrupted: the next vector step yields, whatever the clock says.
    """

    def __init__(
        self,
        population: Population | None,
        buffer: Buffer,
        envs: Environments | None,
        selection: Selection,
        mutations: Mutations,
        fitness: Fitness,
        beside: Fitness | None = None,
        evaluator: Evaluator | None = None,
        hall: HallOfFame | None = None,
        options: TrainingOptions | None = None,
        episodes: TrainingEpisodes | None = None,
    ) -> None:
        self._population, self.buffer, self.envs = population, buffer, envs
        self.selection, self.mutations = selection, mutations
        self.fitness, self.beside, self.evaluator = fitness, beside, evaluator
        self.hall = HallOfFame() if hall is None else hall
        self.options = TrainingOptions() if options is None else options
        self.episodes = TrainingEpisodes() if episodes is None else episodes
        self.history = History()
        self.generation = self.total_steps = self.by_hand = 0
        self.best: Agent | None = None
        self.target: float | None = None
        self.budget, self.changes = Budget(), Changes()
        self.cut = self.interrupted = False
        self._told: set[str] = set()
        self._immigrants: list[Immigrant] = []
        self._under_way: Iterator[Progress | Generation] | None = None

    # What there is ----------------------------------------------------------------------------

    @property
    def populated(self) -> bool:
        """False as long as there are no data to tell the spaces that agents live in."""
        return self._population is not None

    @property
    def population(self) -> Population:
        """The agents.

        Raises:
            ValueError: there are none yet.
        """
        if self._population is None:
            raise ValueError("there are no data yet. Call exp.fill('data.h5') first.")
        return self._population

    @property
    def under_way(self) -> bool:
        """True in the middle of a generation."""
        return self._under_way is not None

    @property
    def evaluation_steps(self) -> int:
        """Environment steps of evaluation so far, the user's own included."""
        return self.by_hand + (0 if self.evaluator is None else self.evaluator.steps)

    @property
    def learns_by_acting(self) -> bool:
        """True where experience comes from the environment, False where it is all there beforehand."""
        return self.envs is not None and self.population.algorithm.regime.acts

    @property
    def spent(self) -> str | None:
        """What of the budget learning has used up, "max_steps" or "minutes"; None where it may go on."""
        longest, steps = 0.0, self.total_steps + self.evaluation_steps
        if self.fitness.by_returns and not self.fitness.by_acting and self.evaluator is not None:
            longest = float(len(self.population) * self.fitness.episodes * self.evaluator.longest)
            steps += len(self.population) * (self.envs.num_envs if self.envs is not None else 0)  # the next
        return self.budget.spent(steps, self.history.generations, longest)

    @property
    def left(self) -> float:
        """Environment steps until the budget is spent, those of evaluation included."""
        limit = math.inf if self.budget.steps is None else self.budget.steps
        return max(0, limit - self.total_steps - self.evaluation_steps)

    @property
    def update_ratio(self) -> float:
        """Updates of each agent per transition that is stored, at a learn step of 1."""
        told, population = self.options.update_ratio, self.population
        if told is not None:
            return told
        return update_ratio_for(population.algorithm, len(population), population.observation_space)

    @property
    def solved(self) -> bool:
        """True where the newest generation has shown that an agent averages the target."""
        if self.target is None or not self.history.generations:
            return False
        confirmed = self.history.generations[-1].confirmed
        if confirmed is None or confirmed < self.target:
            return False
        return not self.fitness.by_acting or self.hall.episodes >= self.hall.enough

    @property
    def has_greedy_episodes(self) -> bool:
        """True where some of the training episodes are played without exploration, for fitness."""
        return self.fitness.by_acting and self.population.algorithm.replays

    @property
    def allowance(self) -> float:
        """Environment steps that may be spent on confirming now; without a bound where whole evaluations are played."""
        if not self.fitness.by_acting:
            return math.inf
        share, spent = self.options.evaluation_share, self.evaluation_steps - self.by_hand
        return min(share * (self.total_steps + spent) - spent, self.left)

    @property
    def expected_steps(self) -> int:
        """Steps (or updates) of each agent that a generation takes."""
        envs, horizon = self.envs if self.learns_by_acting else None, self.buffer.least_steps
        if envs is not None and self.fitness.by_acting:
            horizon = max(horizon, min(self.episodes.horizon, envs.max_episode_steps or LONGEST))
        return self.options.length(0 if envs is None else len(self.population), envs, horizon)

    def over(self, done: int) -> bool:
        """True where a generation of learning is over, after so many steps or updates: whole, or `cut` by the limit."""
        self.cut = done < self.expected_steps and self.spent is not None
        return self.cut or done >= self.expected_steps

    # How far it is --------------------------------------------------------------------------------

    def advance(
        self, begin: Callable[[TrainingState], Iterator[Progress | Generation]]
    ) -> Progress | Generation:
        """The next event of the generation under way, or of a new one that begins.

        An error ends the generation: the next call begins it anew.
        """
        if self._under_way is None:
            self._under_way = begin(self)
        try:
            event = next(self._under_way)
        except BaseException:
            self._under_way = None
            raise
        if isinstance(event, Generation):
            self._under_way = None
        return event

    def count(self, steps: int) -> None:
        """Add training steps, those of all agents together."""
        self.total_steps += steps

    def count_by_hand(self, steps: int) -> None:
        """Add environment steps of an evaluation that the user has asked for."""
        self.by_hand += steps

    def end(self, generation: Generation) -> None:
        """Write a generation down that has ended."""
        self.history.append(generation)
        self.generation = generation.number

    # What may be changed from outside -----------------------------------------------------------

    def seek(self, target: float | None, budget: Budget | None = None) -> None:
        """Look for agents of this mean return, within a budget."""
        self.target, self.budget = target, budget or Budget()

    def keep(self, best: Agent) -> None:
        """Take an agent, a copy, for the best of the generation that ends."""
        self.best = best

    def populate(self, population: Population) -> None:
        """Begin with these agents."""
        self._population = population

    def learn_from(self, buffer: Buffer) -> None:
        """Take this experience in the place of what there was."""
        self.buffer = buffer

    def expect(self, immigrant: Immigrant) -> None:
        """Have an agent of another run ask for a place at the end of the generation that comes next."""
        self._immigrants.append(immigrant)

    def take_immigrants(self) -> list[Immigrant]:
        """Those that ask, who do so once."""
        taken, self._immigrants = self._immigrants, []
        return taken

    def place_buffer(self) -> None:
        """Keep experience where the agents are, unless the user has said where."""
        self.buffer.place_on(self.population.device)

    def change(
        self,
        selection: Selection | None = None,
        mutations: Mutations | None = None,
        fitness: Fitness | None = None,
        **options: Any,
    ) -> None:
        """Evolve or evaluate otherwise, or set some of `options`, from the next generation on."""
        self.selection = self.selection if selection is None else selection
        self.mutations = self.mutations if mutations is None else mutations
        self.fitness = self.fitness if fitness is None else fitness
        self.options = replace(self.options, **options)

    def fit_environments(self) -> None:
        """Have as many environments as the agents need, after a selection that has narrowed the population."""
        if self.envs is not None and self.envs.population != len(self.population):
            # Two of each agent at least: one to show what it can do, and one to explore in.
            num_envs = max(self.envs.num_envs, 1 + self.has_greedy_episodes)
            before, self.envs = self.envs, self.envs.evaluator(num_envs, len(self.population))
            before.close()

    def tell(self, what: str, message: str) -> None:
        """Give the user advice, once in this process on `what` it is about."""
        if what not in self._told:
            self._told.add(what)
            checks.notice(message)

    def interrupt(self, wish: bool = True) -> None:
        """Have the next vector step yield; False takes it back."""
        self.interrupted = wish

    def put_state(
        self, progress: Mapping[str, Any], history: History, best: Agent | None, elite: Agent | None
    ) -> None:
        """Go on where a checkpoint stands; population, buffer and fitness have been given theirs.

        Args:
            progress: "generation", "total_steps", "evaluation_steps", and what `HallOfFame.put_state` takes.
            history, best, elite: the generations until then, the best agent of the last one, the archived one.
        """
        self.generation, self.total_steps = int(progress["generation"]), int(progress["total_steps"])
        self.by_hand = int(progress.get("evaluation_steps_by_hand", 0))
        if self.evaluator is not None:
            self.evaluator.resume(int(progress["evaluation_steps"]) - self.by_hand)
        self.history, self.best = history, best
        self.hall.put_state(progress, elite)
        self.changes = Changes(progress.get("changes", {}))
        self.population.reseed(self.generation)

    def close(self) -> None:
        """Close all environments."""
        for envs in (self.envs, self.evaluator):
            if envs is not None:
                envs.close()
