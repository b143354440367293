from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
import torch

import evolab as ev
from evolab.evaluation import episodes as evaluation
from evolab.evaluation import evaluator
from evolab.evaluation.episodes import Evaluated, evaluating
from evolab.evaluation.evaluator import evaluate
from evolab.evaluation.watched_episodes import play
from tests.small import by_episodes
from tests.toys import Choosing, Endless, Still, Toy


def population_for(envs, size, algorithm="DQN"):
    return ev.Population(
        algorithm, envs.single_observation_space, envs.single_action_space, size, network=[8], seed=0
    )


def played(population, envs, seed=3, max_steps=None, paired=True):
    *progress, result = evaluating(population, envs, seed, max_steps, paired)
    assert isinstance(result, Evaluated)
    return progress, result


def test_whole_episodes_on_common_seeds_each_counted_once():
    envs = ev.envs.make(Still, population=3, num_envs=4)
    population = population_for(envs, 3)
    progress, result = played(population, envs)
    assert np.array_equal(result.returns, result.lengths), "one per step, and nothing after the end"
    assert np.array_equal(result.returns[0], result.returns[1]), "all agents play the same episodes"
    assert np.array_equal(result.returns[0], result.returns[2])
    assert len(set(result.returns[0].tolist())) > 1, "episodes differ from one another"
    assert result.steps == result.lengths.sum()
    assert progress == sorted(progress)
    assert np.array_equal(played(population, envs)[1].returns, result.returns)
    assert not np.array_equal(played(population, envs, seed=4)[1].returns, result.returns)
    alone = played(population, envs, paired=False)[1].returns
    assert not np.array_equal(alone[0], alone[1])
    envs.close()


def test_evaluation_is_greedy_and_changes_nothing():
    envs = ev.envs.make(Toy, population=2, num_envs=3, seed=0)
    population = population_for(envs, 2, ev.TD3(ou_noise=True))
    observation = envs.reset()
    population.act(observation)
    before = {name: value.clone() for name, value in population.table.items()}
    memory, state = population.table.memory["ou"].clone(), population.table.generator.get_state()
    first = evaluate(population, envs, episodes=2, seed=5)
    assert np.array_equal(evaluate(population, envs, episodes=2, seed=5), first)
    assert all(torch.equal(population.table[name], value) for name, value in before.items())
    assert torch.equal(population.table.memory["ou"], memory)
    assert torch.equal(population.table.generator.get_state(), state)
    step = envs.step(population.act(observation, explore=False))
    assert np.array_equal(step.observation, observation), "the training environments were not touched"
    envs.close()


def test_an_endless_environment_is_cut_with_one_warning(monkeypatch):
    for module in (evaluation, evaluator):
        monkeypatch.setattr(module, "LONGEST", 50)
    envs = ev.envs.make(Endless, population=2, num_envs=1)
    population = population_for(envs, 2, "TD3")
    message = (
        "Endless has no time limit: evaluation episodes are cut after 50 steps. Set eval_steps=... to choose."
    )
    with pytest.warns(UserWarning, match=message) as seen:
        evaluate(population, envs, episodes=1)
    assert len(seen) == 1
    assert played(population, envs, max_steps=7)[1].lengths.tolist() == [[7], [7]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(population, envs, episodes=1, max_steps=7)
    envs.close()


def test_a_run_warns_of_an_endless_environment_once(monkeypatch):
    monkeypatch.setattr(evaluation, "LONGEST", 30)
    exp = ev.Experiment(
        Endless,
        "DDPG",
        population=2,
        num_envs=1,
        network=[8],
        steps_per_generation=4,
        seed=0,
        hyperparameters={"batch_size": 32},
        **by_episodes(2),
    )
    exp.fill(64)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        exp.run(generations=3)
    assert len([one for one in seen if "no time limit" in str(one.message)]) == 1
    exp.close()


def test_an_agent_whose_weights_are_not_finite_gets_nan_and_stops_no_other():
    envs = ev.envs.make(Toy, population=3, num_envs=2)
    population = population_for(envs, 3, "DDPG")
    whole = evaluate(population, envs, episodes=2, seed=1)
    population.table["actor"][1, 0, 3] = float("nan")
    broken = evaluate(population, envs, episodes=2, seed=1)
    assert np.isnan(broken[1])
    assert np.array_equal(broken[[0, 2]], whole[[0, 2]])
    envs.close()


def test_a_lost_episode_does_not_count_in_the_mean():
    returns = np.array([[1.0, np.nan], [np.nan, np.nan]])
    fitness = Evaluated(returns, np.ones((2, 2), int)).fitness
    assert fitness[0] == 1.0
    assert np.isnan(fitness[1])


def test_playing_keeps_what_was_seen():
    envs = ev.envs.make(Choosing, population=1, num_envs=1)
    agent = population_for(envs, 1)[0]
    returns, frames, observations = play(agent, Choosing(), episodes=2, seed=1)
    assert (len(returns), len(frames), len(observations)) == (2, 0, 20)
    assert play(agent, Choosing(), episodes=2, seed=1)[0] == returns
    envs.close()


class Drawn(Choosing):
    """A picture of the steps made so far."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012  # as Gymnasium declares it
    render_mode = "rgb_array"

    def reset(self, **options):
        self.made = 0
        return super().reset(**options)

    def step(self, action):
        self.made += 1
        return super().step(action)

    def render(self):
        return np.full((2, 2, 3), self.made, np.uint8)


def test_the_last_picture_shows_how_the_episode_ended():
    envs = ev.envs.make(Choosing, population=1, num_envs=1)
    frames = play(population_for(envs, 1)[0], Drawn(), episodes=2, seed=1)[1]
    assert [int(frame[0, 0, 0]) for frame in frames] == [*range(11), *range(11)]
    envs.close()


def test_no_episodes_is_refused():
    envs = ev.envs.make(Toy, population=1, num_envs=1)
    with pytest.raises(ValueError, match="episodes is 0; expected a whole number >= 1"):
        evaluate(population_for(envs, 1, "TD3"), envs, episodes=0)
    envs.close()


@pytest.mark.parametrize("given", ["id", "callable", "spec"])
def test_everything_that_experiment_takes_can_be_evaluated_in(given, tmp_path):
    """`ev.evaluate(agents, "CartPole-v1", 20)` ended in: 'str' object has no attribute 'evaluator'."""
    envs = ev.envs.make("CartPole-v1", population=2)
    population = ev.Population("DQN", envs.single_observation_space, envs.single_action_space, size=2, seed=3)
    where = {
        "id": "CartPole-v1",
        "callable": lambda: gymnasium.make("CartPole-v1"),
        "spec": gymnasium.spec("CartPole-v1"),
    }[given]
    found = ev.evaluate(population, envs, 4, seed=5)
    assert np.isfinite(found).all()
    assert ev.evaluate(population, where, 4, seed=5).tolist() == found.tolist()
    population[1].save(tmp_path / "agent")
    for one in (population[1], tmp_path / "agent", str(tmp_path / "agent")):
        assert ev.evaluate(one, where, 4, seed=5).tolist() == [found[1]]
        assert ev.evaluate(one, envs, 4, seed=5).tolist() == [found[1]], "environments of two agents"


def test_environments_of_another_form_are_refused_by_name():
    """The shape of an observation was named, and neither the environment nor what the agents know."""
    envs = ev.envs.make(Toy, 2, 1)
    population = population_for(envs, 2, "TD3")
    for agents in (population, population[0]):
        with pytest.raises(
            ValueError, match=r"CartPole-v1 has observations .*; the agent was trained on .*wrapped to look"
        ):
            evaluate(agents, "CartPole-v1")
    envs.close()


def test_several_agents_are_evaluated_in_their_order_however_they_differ(tmp_path):
    """A list was no path, said Python; an experiment neither."""
    envs = ev.envs.make(Toy, 2, 1)
    td3, sac = (population_for(envs, 2, name) for name in ("TD3", "SAC"))
    td3[0].save(tmp_path / "agent")
    agents = [td3[1], sac[0], td3[0]]
    found = evaluate([*agents, str(tmp_path / "agent")], Toy, 2, seed=3)
    assert found.tolist() == [*(evaluate(agent, Toy, 2, seed=3)[0] for agent in agents), found[2]]
    assert evaluate([], Toy).shape == (0,)
    for wrong in (object(), [td3[0], 3]):
        with pytest.raises(
            TypeError, match=r"expected a Population, an agent, its folder, or a list.*exp\.population"
        ):
            evaluate(wrong, Toy)


def test_an_agents_folder_plays_and_records_as_the_agent_does(tmp_path):
    exp = ev.Experiment(
        Toy, "TD3", population=2, num_envs=2, seed=0, device="cpu", network=[8], progress=False
    )
    agent = exp.population[0]
    agent.save(tmp_path / "agent")
    for folder in (str(tmp_path / "agent"), tmp_path / "agent"):
        assert exp.rollout(agent=folder, seed=1).returns == exp.rollout(agent=agent, seed=1).returns
        mine, theirs = (ev.collect(Toy, one, steps=20, num_envs=2) for one in (folder, agent))
        assert mine.mean_return == theirs.mean_return
    with pytest.raises(ValueError, match=r"Unknown agent 'nobody'.*an agent's folder"):
        exp.rollout(agent="nobody")
    with pytest.raises(ValueError, match="expected 'random', an agent, its folder, or a callable"):
        ev.collect(Toy, "nobody", steps=20)
    exp.close()
