"""What people type first: evaluate, plot, load, a callback, the environment's own numbers as columns."""

from __future__ import annotations

import re

import numpy as np
import pytest

import evolab as ev
from evolab.history.display import plain_table
from tests.small import by_episodes
from tests.toys import Toy


class Telling(Toy):
    """Puts numbers into `info`; every second episode is a success, and one name is the history's own."""

    episodes = 0

    def step(self, action):
        observation, reward, terminated, truncated, _ = super().step(action)
        Telling.episodes += truncated
        info = {"distance": float(self.time), "is_success": True, "length": 7, "path": [1, 2], "name": "x"}
        return observation, reward, terminated, truncated, info


OPTIONS = {
    "population": 2,
    "num_envs": 2,
    "network": [8],
    "steps_per_generation": 24,
    "seed": 7,
    "hyperparameters": {"batch_size": 8},
    "search_space": {"lr_actor": ev.Float(1e-4, 1e-2), "batch_size": ev.Integer(8, 16)},
    "progress": False,
}


def toy(environment=Telling, **options):
    experiment = ev.Experiment(environment, "TD3", **by_episodes(2) | OPTIONS | options)
    experiment.fill(60)
    return experiment


@pytest.fixture(scope="module")
def exp():
    experiment = toy()
    experiment.run(generations=2)
    yield experiment
    experiment.close()


def test_evaluate_plays_fresh_episodes_and_counts_their_steps(exp):
    before = exp.evaluation_steps
    result = exp.evaluate(episodes=105)
    assert len(result.returns) == len(result) == 105
    assert result.mean == float(result) == pytest.approx(result.returns.mean())
    low, high = result.interval
    assert low < result.mean < high
    assert exp.evaluation_steps - before == result.steps == 1_050
    assert len(np.unique(result.returns)) == 105  # every episode has a seed of its own
    assert result.metrics["distance"].tolist() == [10.0] * 105
    text = repr(result)
    assert re.search(r"mean -?[\d.]+, 95% interval -?[\d.]+ to -?[\d.]+, over 105 episodes of Telling", text)
    assert "1\u202f050 environment steps" in text
    assert "105 episodes of Telling" in result._repr_html_()


def test_the_same_episodes_come_again_with_the_same_seed_and_without_one(exp):
    first, second, other = exp.evaluate(5), exp.evaluate(5), exp.evaluate(5, seed=3)
    assert first.returns.tolist() == second.returns.tolist() != other.returns.tolist()


def test_what_is_evaluated_by_hand_leaves_the_run_s_confirmations_as_they_are(tmp_path):
    run = toy(fitness="acting")
    run.step()
    allowed, counted = run._state.allowance, run.evaluation_steps
    run.evaluate(20, "best")
    assert run._state.allowance == allowed
    assert run.evaluation_steps == counted + 200
    run.save(tmp_path / "run")
    again = ev.load(tmp_path / "run", environment=Telling)
    assert (again.evaluation_steps, again._state.allowance) == (counted + 200, allowed)
    run.close()
    again.close()


def test_an_agent_is_evaluated_in_any_environment_that_looks_alike(exp):
    result = exp.best.evaluate(Toy, 3, seed=1)
    assert (len(result), result.environment, result.metrics) == (3, "Toy", {})
    assert exp.best.evaluate(Toy, 3, seed=1).returns.tolist() == result.returns.tolist()
    with pytest.raises(ValueError, match=r"CartPole-v1 has observations .* the agent was trained on"):
        exp.best.evaluate("CartPole-v1", 3)


def test_without_an_environment_evaluate_says_what_to_call():
    lone = ev.Experiment(None, "CQN", population=1)
    with pytest.raises(ValueError, match=r"exp.best.evaluate\('CartPole-v1', 100\)"):
        lone.evaluate()


def test_numbers_in_info_become_columns_that_are_saved_and_plotted(exp, tmp_path):
    table = exp.history.fitness
    assert table["distance"].tolist() == [10.0] * 4
    assert table["is_success"].tolist() == [1.0] * 4
    assert table["info_length"].tolist() == [7.0] * 4
    assert table["length"].tolist() == [10.0] * 4
    assert not {"path", "name"} & {*table.columns}
    exp.save(tmp_path / "run")
    again = ev.load(tmp_path / "run", environment=Telling)
    assert again.history == exp.history
    again.close()
    titles = [one.text for one in exp.plot.metrics().layout.annotations]
    assert titles == ["distance", "is_success", "info_length"]
    assert [one.text for one in exp.plot.metrics("length").layout.annotations] == ["length"]
    with pytest.raises(ValueError, match="did you mean 'distance'"):
        exp.plot.metrics("distanse")


@pytest.mark.parametrize("options", [{"vectorization": "async"}, {"fitness": "acting"}], ids=str)
def test_they_come_from_processes_and_from_training_episodes_as_well(options):
    run = toy(**options)
    run.step()
    assert run.history.fitness["distance"].tolist() == [10.0, 10.0]
    run.close()


def test_numbers_of_a_vector_environment_are_taken_where_an_episode_ended():
    for mode in ("next_step", "same_step", "disabled"):
        envs = ev.envs.make(Telling, 1, 2, autoreset=mode)
        envs.reset(seed=1)
        found = [envs.step(np.zeros((1, 2, 1), np.float32)).metrics for _ in range(10)]
        assert found[:9] == [{}] * 9
        assert found[9][0, 1] == {"distance": 10.0, "is_success": 1.0, "length": 7.0}
        envs.close()


def test_a_callback_is_called_at_each_generation_and_ends_the_run(tmp_path):
    run, seen = toy(folder=tmp_path / "run", checkpoint_every=5), []

    def callback(generation):
        seen.append((generation.number, len(run.history), run.generation))
        return generation.number == 2

    run.run(callback=callback)
    assert seen == [(1, 1, 1), (2, 2, 2)]
    assert run.status == "idle"
    assert ev.runs(tmp_path)["generation"].tolist() == [2]  # though a checkpoint is due every fifth

    def stopping(generation):
        raise StopIteration

    run.run(generations=5, callback=stopping)
    assert run.generation == 3
    run.run(generations=1, callback=lambda generation: 5.0)  # only True ends it
    assert run.generation == 4
    run.start(callback=lambda generation: generation.number == 5)
    assert run.wait() == "idle"
    assert run.generation == 5
    run.close()


def test_what_a_callback_raises_is_shown_and_the_run_can_be_gone_on_with():
    run = toy()

    def broken(generation):
        raise LookupError(f"no sheet for generation {generation.number}")

    with pytest.raises(LookupError, match="no sheet for generation 1"):
        run.run(generations=3, callback=broken)
    run.start(generations=3, callback=broken)
    with pytest.raises(LookupError, match="no sheet for generation 2"):
        run.wait()
    run.step()
    assert run.generation == 3
    with pytest.raises(TypeError, match="callback is 3; a function of the finished generation is expected"):
        run.run(generations=1, callback=3)
    run.close()


def test_a_callback_may_evaluate_and_change_what_holds_from_then_on():
    run, means = toy(), []

    def callback(generation):
        means.append(run.evaluate(2).mean)
        run.mutations = ev.Mutations(none=1, architecture=0, parameters=0, activation=0, hyperparameters=0)

    run.run(generations=2, callback=callback)
    assert len(means) == 2
    assert {birth.kind for birth in run.history.generations[-1].births} <= {"none", "elite"}
    run.close()


def test_the_overview_is_one_figure(exp):
    figure = exp.plot()
    titles = [one.text for one in figure.layout.annotations]
    assert titles[0] == "fitness of every agent"
    assert "gain of fitness over the parent (median, 95% interval)" in titles
    assert len(figure.data) > 6
    assert "No generation yet" in toy().plot().layout.annotations[0].text
    assert "exp.plot() is the overview" in repr(exp.plot)


def test_load_opens_a_run_an_agent_or_data(exp, tmp_path):
    exp.save(tmp_path / "runs" / "mine")
    exp.best.save(tmp_path / "agent")
    run = ev.load(tmp_path / "runs" / "mine", environment=Telling)
    assert isinstance(run, ev.Experiment)
    assert run.generation == exp.generation
    run.close()
    assert isinstance(ev.load(tmp_path / "agent"), ev.Agent)
    data = ev.collect(Toy, steps=30, path=tmp_path / "a.h5")
    assert len(ev.load(tmp_path / "a.h5")) == len(data)
    with pytest.raises(FileNotFoundError, match="Did you mean 'mine'"):
        ev.load(tmp_path / "runs" / "mime")
    with pytest.raises(
        TypeError, match=r"Unknown option of Agent.load 'environment'"
    ):  # Python's own message
        ev.load(tmp_path / "agent", environment=Telling)
    with pytest.raises(TypeError, match=r"Unknown option of a data set 'clp'.*did you mean 'clip'"):
        ev.load(tmp_path / "a.h5", clp=True)
    with pytest.raises(ValueError, match="There are runs inside it: mine"):
        ev.load(tmp_path / "runs")


def test_a_generation_s_table_shows_what_evolves(exp):
    text, html = exp.history.generations[-1].show()
    values = [one.hyperparameters for one in exp.history.generations[-1].evaluations]
    for name in ("lr_actor", "batch_size"):
        differs = len({one[name] for one in values}) > 1
        assert (name in text.splitlines()[1]) == differs
        assert (f">{name}<" in html) == differs
    assert plain_table(("a",), [("1",)])  # the table's own writer


def test_reprs_say_what_to_call_next(exp):
    assert "next: exp.run(generations=10), exp.evaluate(100), exp.plot()" in repr(exp)
    fresh = ev.Experiment(Toy, "TD3", population=1)
    assert "next: exp.step(), exp.run(generations=10), exp.dashboard()" in repr(fresh)
    assert "next: exp.fill('data.h5')" in repr(ev.Experiment(None, "CQN", population=1))
    assert repr(exp.best).endswith(": .act(), .evaluate(), .save(), .export()")
    assert "population[0]" in repr(exp.population)
    assert ".lineage()" in repr(exp.history)
    assert "exp.fill(1_000)" in repr(ev.ReplayBuffer(10))


def test_completion_shows_what_there_is(exp):
    assert {"Experiment", "load", "evaluate"} <= {*dir(ev)}
    assert {"Panel", "Rollout"} <= {*dir(ev.panels)}
    assert {"evaluate", "plot", "run", "mutations", "target"} <= {*dir(exp)}
    assert exp.population._ipython_key_completions_() == [0, 1]
