"""Evaluation by hand: what an agent of a run is worth on fresh episodes."""

from __future__ import annotations

from evolab.core.rng import seed_of
from evolab.evaluation.result import EvaluationResult, evaluate_agent
from evolab.experiment.composition import ExperimentParts
from evolab.experiment.rollouts import chosen
from evolab.population.agent import Agent


class Evaluating(ExperimentParts):
    """The method of an experiment that plays fresh episodes for who asks."""

    def evaluate(
        self,
        episodes: int = 20,
        agent: Agent | str | int | None = None,
        *,
        seed: int | None = None,
        max_steps: int | None = None,
    ) -> EvaluationResult:
        """Fresh greedy episodes of one agent: `exp.evaluate(episodes=100)`. Training may go on meanwhile.

        The steps are counted in `evaluation_steps`; they leave the run's own confirmations as they are.

        Args:
            episodes: how many, each with a seed of its own.
            agent: "best", "elite", the id of a living agent, or an `Agent`; None for the elite, and for the best
                agent as long as none is archived.
            seed: that the episodes follow from; None for one that follows from the run's: in the same generation
                the same episodes.
            max_steps: longest episode; None for `eval_steps`, or the environment's own limit.

        Returns:
            an `EvaluationResult` with `.mean`, `.interval` (95%), `.returns` (every one), `.lengths`, `.steps`.

        Raises:
            ValueError: the run has no environment.
            LookupError: the agent has died.
        """
        state, config = self._state, self._config
        if state.envs is None:
            raise ValueError(
                "an evaluation needs an environment; this experiment has none. Play in one of your own: "
                "exp.best.evaluate('CartPole-v1', 100)."
            )
        with self._runner.lock:
            actor = chosen(
                state, agent if agent is not None else "best" if state.hall.elite is None else "elite"
            )
            actor = actor.copy()
            if seed is None:
                seed = seed_of(config.seed, state.generation, "by hand") % 2**31
        environment = state.envs if config.language is None else config.language
        limit = config.eval_steps if max_steps is None else max_steps
        result = evaluate_agent(actor, environment, episodes, seed=seed, max_steps=limit)
        with self._runner.lock:
            state.count_by_hand(result.steps)
        self._runner.changed()
        return result
