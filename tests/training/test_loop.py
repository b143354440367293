from __future__ import annotations

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium import spaces

import evolab as ev
from evolab.envs import probes as probe
from evolab.envs.base import EnvironmentFault
from evolab.history.events import Progress
from evolab.training import act_and_learn, budget, loop
from evolab.training.loop import train
from tests.small import by_episodes, recorded
from tests.toys import Choosing, Lottery, Toy


class Ending(Toy):
    """Terminates at its end instead of being truncated."""

    ends = True


class Drifting(Toy):
    """Shows the number of its episode and of its step, so that every row tells where it belongs."""

    def __init__(self):
        super().__init__()
        self.episode = 0

    def reset(self, *, seed=None, options=None):
        self.episode = 0 if seed is not None else self.episode + 1
        return super().reset(seed=seed)

    def show(self):
        return np.array([self.episode, self.time], np.float32)


@pytest.mark.parametrize("environment", [Drifting, type("DriftingEnd", (Drifting,), {"ends": True})])
def test_no_transition_crosses_an_episode_and_only_termination_ends_the_return(environment):
    exp = ev.Experiment(environment, "DDPG", population=2, num_envs=3, network=[8], steps_per_generation=90, seed=0,
                        hyperparameters={"batch_size": 16}, update_ratio=0.1)  # fmt: skip
    exp.fill(150)
    exp.step()
    rows = {name: exp.buffer.fields[name][: len(exp.buffer)] for name in ("observation", "next_observation")}
    now, following = rows["observation"], rows["next_observation"]
    assert len(now) == 150 + 180
    assert torch.equal(now[:, 0], following[:, 0]), "both ends of a transition lie in one episode"
    assert torch.equal(now[:, 1] + 1, following[:, 1]), "the successor is the true one, the last included"
    last = following[:, 1] == 10
    assert last.sum() > 20
    terminated = exp.buffer.fields["terminated"][: len(exp.buffer)].bool()
    assert torch.equal(terminated, last if environment.ends else torch.zeros_like(last))
    exp.close()


def test_a_truncated_episode_bootstraps_from_its_true_last_observation():
    """One step, reward 1, discount 1/2: truncated it is worth 2, terminated it is worth 1."""

    class Cut(Toy):
        length = 1

        def earn(self, action):
            return 1.0

        def show(self):
            return np.zeros(2, np.float32)

    values = {}
    for environment in (Cut, type("Stopped", (Cut,), {"ends": True})):
        hyper = {"discount": 0.5, "batch_size": 32, "lr_critic": 1e-2, "tau": 0.2}
        envs = ev.envs.make(environment, population=1, num_envs=8, seed=0)
        population = ev.Population("DDPG", envs.single_observation_space, envs.single_action_space, 1, network=[16],
                                   hyperparameters=hyper, search_space={}, seed=0)  # fmt: skip
        buffer, observation = ev.ReplayBuffer(1000), envs.reset()
        for _ in range(10):
            transition = envs.step(population.act(observation))
            buffer.add(transition)
            observation = transition.reset_observation
        for _ in range(300):
            population.learn(buffer, updates=1)
        zeros, action = torch.zeros(1, 1, 2), torch.zeros(1, 1, 1)
        values[environment.ends] = float(population.groups[0].network("critic")(zeros, action))
        envs.close()
    assert values[False] == pytest.approx(2.0, abs=0.1)
    assert values[True] == pytest.approx(1.0, abs=0.1)


def test_no_generation_plays_an_episode_of_another():
    """Started from one seed in every generation, agents would learn the same few episodes again and again."""
    exp = ev.Experiment(Lottery, "TD3", population=3, num_envs=2, network=[8], steps_per_generation=40, seed=7,
                        hyperparameters={"batch_size": 16}, device="cpu", **by_episodes(3))  # fmt: skip
    played = []
    for work in (lambda: exp.fill(60), exp.step, exp.step, exp.step):
        Lottery.lots.clear()
        work()
        played.append(set(Lottery.lots))
    assert len(played[0]) == 6, "nor does a member play another's"
    assert all(len(lots) >= 12 + 1 for lots in played[1:]), "two of each member, and the evaluation's"
    assert not any(one & other for one, other in combinations(played, 2))
    exp.close()


class Crossing(Toy):
    """Notes pairs of successive actions: those within an episode, and those across the end of one."""

    actions = spaces.Discrete(500)

    def __init__(self, noted):
        super().__init__()
        self.noted = noted
        self.before = ("start", None)

    def reset(self, *, seed=None, options=None):
        where = "across" if seed is None else "start"  # an episode with a seed of its own follows no other
        self.before = (where, self.before[1])
        return super().reset(seed=seed)

    def step(self, action):
        where, before = self.before
        self.noted[where].append(before == int(action))
        self.before = ("within", int(action))
        return super().step(action)


@pytest.mark.parametrize("ends", [False, True], ids=["truncated", "terminated"])
def test_exploration_starts_anew_with_every_episode(ends):
    """A random action lasts for a run of steps, at times for hundreds, but not into the next episode."""
    noted = {"start": [], "within": [], "across": []}
    kind = type("Crossing", (Crossing,), {"ends": ends})
    exp = ev.Experiment(lambda: kind(noted), "DQN", population=2, num_envs=4, network=[8],
                        steps_per_generation=200, eval_steps=1, seed=0, device="cpu", search_space={},
                        hyperparameters={"batch_size": 8, "epsilon_end": 1.0, "persistence": 1000.0},
                        **by_episodes(2))  # fmt: skip
    exp.fill(16)
    for pairs in noted.values():
        pairs.clear()
    exp.step()
    assert np.mean(noted["within"]) > 0.5, "runs there are"
    assert len(noted["across"]) >= 2 * 4 * 4
    assert not any(noted["across"])
    exp.close()


HYPER = {"batch_size": 64, "tau": 0.1}
RATES = {"DQN": {"lr": 1e-2, "epsilon_steps": 400}, "DDPG": {"lr_actor": 5e-3, "lr_critic": 1e-2}}
RATES["TD3"] = RATES["DDPG"]


def probed(environment, algorithm, updates=350):
    """One agent after a few hundred updates on a probe, and what it answers to a state."""
    actions = "discrete" if algorithm == "DQN" else "continuous"
    envs = ev.envs.make(lambda: environment(actions), population=1, num_envs=16, seed=0)
    noise = {} if algorithm == "DQN" else {"exploration_noise": 0.6}
    population = ev.Population(algorithm, envs.single_observation_space, envs.single_action_space, 1, network=[32, 32],
                               hyperparameters=HYPER | RATES[algorithm] | noise, search_space={}, seed=0)  # fmt: skip
    buffer, observation = ev.ReplayBuffer(10_000), envs.reset()
    for step in range(updates):
        action = (
            population.random_actions(16, np.random.default_rng(step))
            if step < 60
            else population.act(observation)
        )
        transition = envs.step(action)
        buffer.add(transition)
        if len(buffer) >= 256:
            population.learn(buffer, updates=1)
        observation = transition.reset_observation
    envs.close()

    def value(state):
        x = torch.full((1, 1, 1), state)
        if algorithm == "DQN":
            return population.groups[0].network("q")(x)[0, 0].tolist()
        action = torch.tanh(population.groups[0].network("actor")(x))
        return population.groups[0].network("critic")(x, action).flatten().tolist()

    return population[0], value


@pytest.mark.parametrize("algorithm", ["DQN", "DDPG", "TD3"])
def test_probes_are_learned_to_their_exact_values(algorithm):
    _, value = probed(probe.ConstantReward, algorithm, 200)
    assert value(0.0) == pytest.approx([1.0] * len(value(0.0)), abs=0.1)

    _, value = probed(probe.ObservationReward, algorithm, 250)
    for state in (-1.0, 1.0):
        assert value(state) == pytest.approx([state] * len(value(state)), abs=0.15)


@pytest.mark.parametrize("algorithm", ["DQN", "DDPG", "TD3"])
def test_policies_find_the_rewarded_action(algorithm):
    agent, value = probed(probe.ActionReward, algorithm)
    action = agent.act(np.zeros(1, np.float32))
    if algorithm == "DQN":
        assert action == int(np.argmax(value(0.0)))
        assert max(value(0.0)) - min(value(0.0)) > 0.5
    else:
        assert float(action[0]) == pytest.approx(probe.BEST, abs=0.2)


OVERLAPPED = {"vectorization": "async", "overlap": True}


def overlapped(environment=Toy, **options):
    """A run whose environments step while it learns."""
    settings = {"population": 2, "num_envs": 2, "steps_per_generation": 40, "network": [8], "seed": 3,
                "hyperparameters": {"batch_size": 8}, "device": "cpu"} | by_episodes(2)  # fmt: skip
    return ev.Experiment(environment, "TD3", **settings | OVERLAPPED | options)


def test_environments_that_step_while_agents_learn_give_the_same_run_every_time():
    records = []
    for _ in range(2):
        exp = overlapped()
        exp.fill(40)
        exp.run(generations=2)
        records.append(exp.history.fitness.drop(columns=["seconds"], errors="ignore"))
        assert exp.total_steps == 40 + 2 * 2 * 40
        assert len(exp._state.buffer) == exp.total_steps
        assert exp.population.individuals[0].updates > 0
        exp.close()
    assert records[0].equals(records[1])


def test_the_update_ratio_holds_while_environments_step():
    exp = overlapped(update_ratio=0.25, search_space={})
    exp.fill(40)
    exp.step()
    assert set(exp.history.fitness["updates"]) == {20}, "a quarter of the 80 transitions of two agents"
    exp.close()


class Breaking(Toy):
    """Fails for ever from its ninth step on."""

    count = 0

    def step(self, action):
        Breaking.count += 1
        if Breaking.count > 8:
            raise RuntimeError("the belt has come off")
        return super().step(action)


def test_what_breaks_while_agents_learn_is_told_and_the_run_can_be_closed():
    exp = overlapped(Breaking)
    exp.fill(20)
    with pytest.raises(EnvironmentFault, match="the belt has come off"):
        exp.run(generations=1)
    assert exp.population.act(np.zeros((2, 1, 2), np.float32)).shape == (2, 1, 1)
    exp.close()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"vectorization": "sync"}, "overlap=True needs vectorization='async'"),
        ({"algorithm": "PPO"}, "overlap=True: PPO here does not learn while it acts"),
    ],
)
def test_overlapping_where_it_cannot_help_is_refused(options, told):
    with pytest.raises(ValueError, match=told):
        ev.Experiment(Toy, **{"algorithm": "TD3", "population": 2} | OVERLAPPED | options)


def test_a_population_that_has_diverged_as_a_whole_stops_with_a_sentence():
    """It ran on to the end, every agent NaN."""
    exp = ev.Experiment(Toy, "TD3", population=2, num_envs=1, network=[8], steps_per_generation=12, seed=0,
                        hyperparameters={"batch_size": 8}, device="cpu", **by_episodes(2))  # fmt: skip
    exp.fill(24)
    exp.step()
    exp.population.table["actor"][0] = float("nan")
    exp.population.table["critic"][1, :, 2] = float("nan")
    with pytest.raises(
        RuntimeError, match=r"all 2 agents have diverged: .* Go back to an earlier generation"
    ):
        exp.run(generations=3)
    assert exp.generation == 1
    assert np.isfinite(exp.elite.fitness), "what was archived is whole"
    exp.close()


def test_where_the_archived_elite_may_return_it_does():
    exp = ev.Experiment(Toy, "TD3", population=2, num_envs=1, network=[8], steps_per_generation=12, seed=0,
                        hyperparameters={"batch_size": 8}, device="cpu",
                        **{**by_episodes(2), "revive": True})  # fmt: skip
    exp.fill(24)
    exp.step()
    exp.buffer.fields["reward"].fill_(float("nan"))
    generation = exp.step()
    assert not any(np.isfinite(one.fitness) for one in generation.evaluations)
    assert {birth.kind for birth in generation.births} >= {"revived"}
    assert torch.isfinite(exp.population.table["actor"]).all()
    exp.close()


# Budgets ------------------------------------------------------------------------------------------


def limited(algorithm="TD3", **options):
    """Three agents with two environments each: a vector step is six steps, a generation 120."""
    settings = {"population": 3, "num_envs": 2, "steps_per_generation": 40, "network": [8], "seed": 3,
                "hyperparameters": {"batch_size": 8}, "device": "cpu", "draw": False}  # fmt: skip
    if algorithm == "TD3":
        settings["update_ratio"] = 1 / 3
    settings |= {"environment": {"PPO": Choosing, "CQN": None}.get(algorithm, Toy)}
    return ev.Experiment(algorithm=algorithm, **settings | options)


def test_a_budget_is_passed_by_no_more_than_one_vector_step():
    """`run(max_steps=5_000)` trained 41 024 steps, the whole of a generation."""
    exp = limited()
    exp.fill(60)
    exp.run(max_steps=100)  # 40 are left: seven vector steps of six
    assert (exp.generation, exp.total_steps) == (1, 60 + 7 * 6)
    assert set(exp.history.fitness["steps"]) == {20 + 14}
    assert set(exp.history.fitness["updates"]) == {14}
    exp.run(max_steps=300)  # evaluation counts as well
    assert exp.generation == 3
    assert exp.evaluation_steps > 0
    assert 300 <= exp.total_steps + exp.evaluation_steps < 300 + 6
    exp.step()
    assert exp.total_steps - exp.history.generations[2].total_steps == 120, "nobody limits this one"
    exp.close()


def test_minutes_are_not_passed_by_random_steps_before_learning(monkeypatch):
    """`run(minutes=0.02)` of a slow environment took its 1 000 random steps first, in a quarter of a minute."""
    exp = limited()
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    step = exp._state.envs.step

    def slow(action, **own):
        now[0] += 1.0
        return step(action, **own)

    monkeypatch.setattr(exp._state.envs, "step", slow)
    with pytest.warns(
        UserWarning, match=r"0\.1 minutes are over while agents act at random, 42 of 1,000 steps before"
    ):
        exp.run(minutes=0.1)
    assert exp.total_steps == 7 * 6  # a vector step of six a second: the seventh begins after six seconds
    assert exp.status == "idle"
    monkeypatch.setattr(exp._state.envs, "step", step)
    exp.run(generations=1)
    assert exp.generation == 1
    exp.close()


def test_a_budget_counts_whole_evaluations_and_leaves_room_for_the_last_one():
    exp = limited(fitness="return", confirmation=4)
    exp.fill(60)
    # Half of the budget is kept for the first evaluation, less a vector step; it takes 30 steps, as much as is kept
    # for the next, and a confirmation 40.
    exp.run(max_steps=330)
    first, last = exp.history.generations
    assert (first.total_steps, first.evaluation_steps) == (162, 70)
    assert (last.total_steps, last.evaluation_steps) == (162 + 11 * 6, 70 + 30)
    exp.run(max_steps=340)  # not enough for an evaluation
    assert exp.generation == 2
    exp.close()


def test_episodes_that_a_budget_cuts_count_by_what_they_earned_in_as_many_steps():
    exp = limited(fitness="return")
    exp.fill(60)
    exp.run(max_steps=80)  # a vector step; 14 are left, four steps of three agents
    (generation,) = exp.history
    assert (exp.total_steps, exp.evaluation_steps) == (66, 12)
    assert [one.length for one in generation.evaluations] == [4, 4, 4]
    assert np.isfinite([one.fitness for one in generation.evaluations]).all()
    exp.run(max_steps=1_000)
    assert exp.total_steps + exp.evaluation_steps <= 1_000
    exp.close()


def test_a_confirmation_that_the_budget_does_not_pay_for_is_left_out_where_all_agents_play_for_their_fitness():
    """Twenty episodes of ten steps followed on a budget of a hundred steps."""
    exp = limited(fitness="return")
    exp.fill(60)
    exp.run(max_steps=100)
    assert (exp.total_steps, exp.evaluation_steps) == (60 + 6, 3 * 10)  # half of it was kept
    assert exp.history.generations[0].confirmed is None
    assert exp.elite.id == exp.best.id, "who was proposed is the elite"
    exp.close()


class Longer(Toy):
    """Greedy episodes take far longer than those that promised them: a hundred steps, where the first ones take five."""

    evaluates = False

    def __init__(self):
        super().__init__()
        self.length = 100 if Longer.evaluates else 5


def test_a_confirmation_under_way_passes_no_budget(monkeypatch):
    """Four episodes of 5 steps were affordable, and took 400."""
    exp = limited(environment=Longer, evaluation_share=1.0)
    monkeypatch.setattr(Longer, "evaluates", True)
    exp.fill(60)
    exp.run(max_steps=180 + 60)
    (generation,) = exp.history
    assert (exp.total_steps, exp.evaluation_steps) == (180, 60)
    assert generation.confirmed is None, "what was cut tells nothing"
    assert np.isfinite(exp.elite.fitness), "who was proposed is the elite"
    exp.close()


def test_a_budget_cuts_the_generation_that_rests_under_way():
    exp = limited()
    exp.fill(60)
    events = exp._training("step", (1, None), None, None)
    exp._state.interrupt()
    next(events)
    exp._state.interrupt(False)
    assert exp.total_steps == 66
    exp.run(max_steps=80)
    assert (exp.generation, exp.total_steps) == (1, 84)
    exp.close()


def test_a_budget_of_rollouts_and_of_updates_is_one_too():
    exp = limited("PPO", buffer=10, hyperparameters={"batch_size": 4})
    exp.run(max_steps=100)
    assert (exp.generation, exp.total_steps) == (1, 17 * 6)
    exp.close()
    exp = limited("CQN", fitness="fqe")
    exp.fill(recorded(rows=200))
    exp.run(max_steps=200)  # updates of three agents: 120, and 27 each
    assert (exp.generation, exp.total_steps) == (2, 120 + 3 * 27)
    exp.close()


class Clock:
    """A clock that only environments move: a vector step of three agents with two environments each takes 6 s."""

    def __init__(self, monkeypatch):
        monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=self))
        monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=self))
        clock, self.now = self, 0

        class Timed(Toy):
            length = 6

            def step(self, action):
                clock.now += 1
                return super().step(action)

        self.environment = Timed

    def __call__(self):
        return float(self.now)


class Slow:
    """Nobody is better; an evaluation takes so many seconds, in steps of 6 s."""

    def __init__(self, clock, *seconds):
        self.clock, self.seconds = clock, list(seconds)

    def estimate(self, population, buffer, seed):
        total = self.seconds.pop(0) if self.seconds else 0
        for done in range(0, total, 6):
            self.clock.now += 6
            yield done, total
        yield np.zeros(len(population))


def timed(clock, **options):
    """A generation learns for twenty vector steps, 120 s."""
    settings = {"population": 3, "num_envs": 2, "steps_per_generation": 40, "network": [8], "seed": 3,
                "hyperparameters": {"batch_size": 8}, "device": "cpu", "fitness": Slow(clock)}  # fmt: skip
    exp = ev.Experiment(clock.environment, "TD3", **settings | options)
    exp.fill(60)
    return exp


def test_minutes_are_passed_by_no_more_than_one_vector_step(monkeypatch):
    clock = Clock(monkeypatch)
    exp = timed(clock)
    start = clock()
    exp.run(minutes=6)
    assert clock() - start == 360
    assert [g.total_steps for g in exp.history] == [180, 300, 420]
    start = clock()
    exp.run(minutes=3)
    assert clock() - start == 180
    assert [g.total_steps for g in exp.history][3:] == [540, 600], "the last one is cut to ten vector steps"
    start = clock()

    def beside():  # started where warnings are awaited: on a busy machine it warned before anybody listened
        exp.start(minutes=0.75)  # the eighth vector step begins before 45 s are over
        exp.wait()

    with pytest.warns(UserWarning, match="0.75 minutes are over in the middle of generation 6"):
        beside()
    assert clock() - start == 48
    assert (exp.total_steps, exp.generation) == (648, 5)
    exp.step()
    assert (exp.total_steps, exp.generation) == (648, 6)
    exp.step()
    assert exp.total_steps == 768, "a generation is whole again where nobody limits it"
    exp.close()


def test_minutes_leave_time_for_the_evaluation(monkeypatch):
    """A quarter where nobody knows how long it takes, then half as much again as it took."""
    clock = Clock(monkeypatch)
    exp = timed(clock, fitness=Slow(clock, 12, 18, 24, 36), steps_per_generation=1000)
    for minutes, learned in ((4, 180), (4, 240 - 18), (4, 240 - 24), (1, 60 - 36)):
        start = clock()
        exp.run(minutes=minutes, generations=1)
        seconds = exp.history.generations[-1].seconds
        assert seconds["train"] == learned
        assert seconds["train"] + seconds["evaluate"] == clock() - start
    start = clock()
    # Less than an evaluation takes: nothing is begun. 1.5 x 36 s are kept, and 20 vector steps of 6 s are learned.
    with pytest.warns(UserWarning, match=r"54 s are kept .* minutes=\d+ should be enough for one more"):
        exp.run(minutes=0.8)
    assert (clock(), exp.generation) == (start, 4)
    exp.close()


def test_an_evaluation_that_does_not_fit_into_the_minutes_rests_under_way(monkeypatch, tmp_path):
    clock = Clock(monkeypatch)
    exp = timed(clock, fitness=Slow(clock, 6, 600), folder=tmp_path / "run", checkpoint_every=3)
    start = clock()
    over = pytest.warns(UserWarning, match="6 minutes are over in the middle of generation 2")
    with over, pytest.warns(UserWarning, match="what is saved is the run at the end of generation 1"):
        exp.run(minutes=6)
    assert clock() - start == 366
    assert (exp.generation, exp.status) == (1, "idle")
    loaded = ev.Experiment.load(tmp_path / "run", environment=clock.environment, fitness=Slow(clock))
    assert loaded.generation == 1
    loaded.close()
    start = clock()
    exp.run(generations=1)
    assert clock() - start == 600 - (366 - 246)
    assert exp.generation == 2
    exp.close()


def test_a_target_and_other_goals_end_a_run_before_its_minutes_do(monkeypatch):
    clock = Clock(monkeypatch)
    exp = timed(clock)
    exp.run(generations=2, minutes=60)
    assert (clock(), exp.generation) == (clock.now, 2)
    exp.run(max_steps=350, minutes=60)
    assert exp.total_steps == 354
    exp.close()


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf"), "10", True])
def test_minutes_are_a_finite_number_above_zero(minutes):
    exp = limited()
    exp.fill(60)
    with pytest.raises((TypeError, ValueError), match=r"minutes is .*; expected a"):
        exp.run(minutes=minutes)
    assert exp.generation == 0
    exp.close()


def test_minutes_hold_for_updates_from_data():
    exp = limited("CQN", fitness="fqe", steps_per_generation=10**7)
    exp.fill(recorded(rows=200))
    exp.run(minutes=0.01)
    assert exp.total_steps < 10**7
    exp.close()


def test_progress_runs_up_to_a_total_that_is_the_work_there_is(monkeypatch):
    monkeypatch.setattr(act_and_learn, "SHOWN_EVERY", -1.0)  # whatever is done is shown
    exp = ev.Experiment(Toy, "DDPG", population=3, num_envs=1, network=[8], steps_per_generation=20, seed=0,
                        hyperparameters={"batch_size": 8}, eval_episodes=2, confirmation=7,
                        **by_episodes(3))  # fmt: skip
    exp.fill(30)
    events = [event for event in train(exp._state, generations=1) if isinstance(event, Progress)]
    assert all(0 <= event.done <= event.total for event in events)
    assert {event.total for event in events if event.phase == "train"} == {20}
    # Three agents play two episodes each; seven fresh ones confirm the best.
    assert {event.total for event in events if event.phase == "evaluate"} == {6, 7}
    exp.close()


def test_without_evolution_the_best_agent_alone_is_marked(monkeypatch):
    exp = ev.Experiment(Toy, "DDPG", population=4, num_envs=1, network=[8], steps_per_generation=12, seed=0,
                        hyperparameters={"batch_size": 8}, evolving=False, **by_episodes(4))  # fmt: skip
    exp.fill(24)
    monkeypatch.setattr(exp._state.fitness, "estimate", lambda *_: iter([np.array([1.0, 3.0, 2.0, 0.0])]))
    generation = exp.step()
    assert [one.agent for one in generation.evaluations if one.is_elite] == [generation.best.agent]
    assert generation.best.fitness == 3.0
    exp.close()
