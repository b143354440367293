"""The archived elite as a last resort, and at rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import evolab as ev
from evolab.evaluation.episodes import Evaluated
from evolab.evolution.candidate import Candidate
from evolab.evolution.hall_of_fame import FIRST, HallOfFame
from evolab.training.loop import evolved
from tests.small import by_episodes
from tests.toys import Choosing, Paying, Toy

KEPT = ev.Mutations(none=1, architecture=0, parameters=0, activation=0, hyperparameters=0)


def started(revive, algorithm="TD3", environment=Toy, **options):
    """An experiment of three agents after a generation whose best one was archived."""
    exp = ev.Experiment(environment, algorithm, population=3, num_envs=2, steps_per_generation=20, network=[8], seed=0,
                        hyperparameters={"batch_size": 8}, device="cpu", mutations=KEPT,
                        selection=ev.Truncation(0.34, warmup=2),
                        **{**by_episodes(3), "revive": revive, **options})  # fmt: skip
    exp.fill(40)
    exp.step()
    archive(exp._state, exp._state.best, 100.0)
    return exp


def archive(run, agent, fitness):
    """Have an agent in the archive, whatever was there."""
    run.hall.put_state({"elite_fitness": fitness}, agent.copy())


def resting(run):
    """The agents at rest."""
    return [individual for individual in run.population.individuals if individual.resting is not None]


def weights(run, id, role):
    """Parameters of one network of one agent, as they are now."""
    return copied(run.population, run.population.row(id), role)


def copied(population, row, role):
    return {name: value.clone() for name, value in population.individual(row).tensors[role].items()}


def same(ours, theirs):
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture
def run():
    exp = started(True)
    yield exp._state
    exp.close()


@pytest.fixture
def still():
    """Where the elite rests."""
    exp = started("resting")
    evolved(exp._state, 3, np.array([3.0, 1.0, 2.0]))
    yield exp
    exp.close()


def test_an_elite_that_no_agent_reaches_takes_the_place_of_the_worst(run):
    archived, before = run.hall.elite, run.population.ids
    births = evolved(run, 3, np.array([3.0, 1.0, 2.0]))
    (revived,) = [birth for birth in births if birth.kind == "revived"]
    assert revived.parent == archived.id
    assert revived.agent in run.population.ids
    assert before[1] not in run.population.ids
    assert before[0] in run.population.ids, "the best of today goes on"
    (itself,) = [one for one in run.population.individuals if one.id == revived.agent]
    assert itself.fitness == [100.0], "its record begins with what is known of it"
    assert itself.parent == archived.id
    assert same(weights(run, revived.agent, "actor"), archived.individual().tensors["actor"])
    assert not resting(run)


@pytest.mark.parametrize(
    ("number", "scores"), [(1, [3.0, 1.0, 2.0]), (2, [3.0, 1.0, 2.0]), (3, [3.0, 100.0, 2.0])]
)
def test_no_elite_is_revived_in_the_warm_up_or_while_an_agent_is_as_good(run, number, scores):
    assert all(birth.kind != "revived" for birth in evolved(run, number, np.array(scores)))


def test_an_elite_at_rest_acts_and_keeps_its_policy_while_its_critics_and_the_others_learn(still):
    run, elite = still._state, still._state.hall.elite
    (seat,) = resting(run)
    assert seat.resting == elite.id
    policy, critics = weights(run, seat.id, "actor"), weights(run, seat.id, "critic")
    others = {m.id: weights(run, m.id, "actor") for m in run.population.individuals if m is not seat}
    steps = seat.steps
    still._state.change(evolving=False)
    still.step()
    assert same(weights(run, seat.id, "actor"), policy)
    assert same(policy, elite.individual().tensors["actor"])
    assert not same(weights(run, seat.id, "critic"), critics)
    assert not any(same(weights(run, id, "actor"), before) for id, before in others.items())
    assert resting(run)[0].steps == steps + 20


def test_it_keeps_its_place_and_its_children_learn(still):
    run = still._state
    (seat,) = resting(run)
    births = evolved(run, 4, np.array([0.0 if m is seat else -1.0 for m in run.population.individuals]))
    assert [m.id for m in resting(run)] == [seat.id]
    assert not [birth for birth in births if birth.kind == "revived"]
    assert [birth.detail for birth in births if birth.agent == seat.id] == ["rests unchanged"]
    (child,) = [birth for birth in births if birth.parent == seat.id != birth.agent]
    assert run.population.individuals[run.population.row(child.agent)].resting is None


def test_a_better_elite_takes_the_place_of_the_one_at_rest(still):
    run = still._state
    (seat,) = resting(run)
    better = next(m.id for m in run.population.individuals if m.id != seat.id)
    archive(run, run.population[run.population.row(better)], 200.0)
    births = evolved(run, 4, np.array([200.0 if m.id == better else 0.0 for m in run.population.individuals]))
    (now,) = resting(run)
    assert (now.resting, now.slot) == (better, seat.slot)
    assert seat.id not in run.population.ids
    assert better in run.population.ids  # goes on learning
    assert any(b.detail == f"the archived elite {better}, at rest" for b in births)


def test_one_that_was_damaged_comes_back_from_the_archive(still):
    run = still._state
    (seat,) = resting(run)
    row = run.population.row(seat.id)
    run.population.table["actor"][row] = float("nan")
    evolved(run, 4, np.array([np.nan if m is seat else 1.0 for m in run.population.individuals]))
    (now,) = resting(run)
    assert now.id != seat.id
    assert same(weights(run, now.id, "actor"), run.hall.elite.individual().tensors["actor"])


def test_a_copy_of_an_agent_at_rest_learns(still):
    (seat,) = resting(still._state)
    copy = still.population[still.population.row(seat.id)].copy()
    before = copied(copy.table, 0, "actor")
    for _ in range(2):  # the policy moves at every second update
        copy.learn(still.buffer)
    assert not same(copied(copy.table, 0, "actor"), before)


def test_where_values_are_the_policy_they_rest():
    exp = started("resting", "DQN", environment=Choosing)
    run = exp._state
    evolved(run, 3, np.array([3.0, 1.0, 2.0]))
    run.change(evolving=False)
    (seat,) = resting(run)
    before = weights(run, seat.id, "q")
    exp.step()
    assert same(weights(run, seat.id, "q"), before)
    exp.close()


class Renamed(ev.DQN):
    acting = ("actor",)  # of a class whose networks had other names


def test_a_rule_that_names_networks_it_has_not_rests_whole():
    exp = started("resting", Renamed(), environment=Choosing)
    evolved(exp._state, 3, np.array([3.0, 1.0, 2.0]))
    (seat,) = resting(exp._state)
    row = exp.population.row(seat.id)
    assert [float(rate) == 0.0 for rate in exp.population.table.hyper["lr"]] == [i == row for i in range(3)]
    exp.close()


def test_experience_of_its_own_follows_each_agent_when_an_elite_returns():
    """An elite of another size is laid out among others, so that rows move."""
    exp = started(True, buffer=ev.ReplayBuffer(100, shared=False))
    run = exp._state
    small = ev.Experiment(Toy, "TD3", population=1, num_envs=2, network=[4], seed=1, device="cpu",
                          hyperparameters={"batch_size": 8})  # fmt: skip
    archive(run, small.population[0], 100.0)
    rows = {m.id: run.buffer.fields["reward"].unflatten(0, (3, 100))[i].clone()
            for i, m in enumerate(run.population.individuals)}  # fmt: skip
    evolved(run, 3, np.array([1.0, 2.0, 3.0]))
    kept = [m for m in run.population.individuals if m.id in rows]
    assert kept
    now = run.buffer.fields["reward"].unflatten(0, (3, 100))
    for individual in kept:
        assert torch.equal(now[run.population.row(individual.id)], rows[individual.id])
    small.close()
    exp.close()


@pytest.mark.parametrize("asked", ["rest", 2])
def test_anything_else_is_refused(asked):
    with pytest.raises(ValueError, match="resting"):
        started(asked)


# Confirmation ---------------------------------------------------------------------------------


def test_an_elite_at_rest_that_is_lucky_again_does_not_replace_itself(still, monkeypatch):
    """Its number crept up by luck alone: the mean of its luckiest twenty episodes counted, under a new id each time."""
    exp, hall = still, still._state.hall
    (seat,) = resting(exp._state)
    hall.put_state({"elite_fitness": -3.0, "elite_episodes": 30}, hall.elite)
    elite = hall.elite.id

    def lucky(population, buffer, seed):
        earned = np.array([9.0 if one.resting is not None else -50.0 for one in population.individuals])
        exp._state.fitness.returns, exp._state.fitness.lengths = earned[:, None], np.full((3, 1), 10)
        yield earned

    def fresh(population, episodes, seed, paired, most):
        returns = np.full((len(population), episodes), 5.0)
        yield Evaluated(returns, np.full(returns.shape, 10))

    monkeypatch.setattr(exp._state.fitness, "estimate", lucky)
    monkeypatch.setattr(exp._state.evaluator, "play", fresh)
    generation = exp.step()
    assert hall.elite.id == elite
    assert [one.id for one in resting(exp._state)] == [seat.id]
    assert hall.episodes == 30 + 1 + 20, "one of the evaluation, and the fresh ones"
    assert hall.fitness == pytest.approx((30 * -3.0 + 9.0 + 20 * 5.0) / 51)
    assert generation.confirmed == hall.fitness == exp.elite.fitness
    assert hall.elite.individual().fitness[-2:] != [hall.fitness] * 2, "corrected, not noted again"


@pytest.mark.parametrize("confirmation", [3, 6])
def test_how_many_episodes_confirm_a_record_can_be_set_and_they_end_by_eval_steps(confirmation):
    exp = ev.Experiment(Toy, "TD3", population=3, num_envs=1, network=[8], steps_per_generation=12, seed=0,
                        hyperparameters={"batch_size": 8}, confirmation=confirmation, eval_steps=4,
                        **by_episodes(3))  # fmt: skip
    exp.fill(24)
    exp.step()
    assert exp.evaluation_steps == 4 * (3 + confirmation), "an episode of each agent, and the fresh ones"
    exp.run(generations=1, target=-1e9)
    assert exp.evaluation_steps == 4 * (3 + confirmation) + 4 * (3 + 5 * confirmation)
    assert exp._state.hall.episodes in (confirmation, 5 * confirmation)
    assert ev.Experiment.from_config(exp.config | {"environment": None}, environment=Toy).config["confirmation"] \
        == confirmation  # fmt: skip
    exp.close()


def test_no_episodes_confirm_nothing():
    with pytest.raises(ValueError, match="confirmation is 0"):
        ev.Experiment(Toy, "TD3", population=2, confirmation=0)


def test_what_is_known_of_the_elite_is_saved_and_a_folder_of_0_1_0_counts_for_the_first_confirmation(
    tmp_path,
):
    exp = started("resting")
    exp._state.hall.add(np.linspace(40.0, 60.0, 13))
    exp._state.hall.offset, exp._state.hall.proposed, exp._state.hall.seemed = -3.5, 12.0, 4.5
    known = exp._state.hall.take_state()
    exp.save(tmp_path / "run")
    hall = ev.Experiment.load(tmp_path / "run", environment=Toy)._state.hall
    assert hall.take_state() == known
    assert hall.elite.id == exp.elite.id
    hall.put_state({"elite_fitness": 7.0}, hall.elite)
    assert (hall.fitness, hall.episodes) == (7.0, 20)
    assert (hall.proposed, hall.offset, hall.seemed) == (-np.inf, 0.0, -np.inf)
    exp.close()


def test_a_revived_agent_fills_the_slot_of_the_worst_and_its_children_are_the_elites(run):
    elite, slots = run.hall.elite, {one.id: one.slot for one in run.population.individuals}
    diverged = run.population.individuals[2]
    births = evolved(run, 3, np.array([1.0, 2.0, np.nan]))
    (revived,) = [birth for birth in births if birth.kind == "revived"]
    found = {one.id: one for one in run.population.individuals}
    assert found[revived.agent].slot == slots[diverged.id]
    survivor = found.keys() & slots.keys()
    assert [found[id].slot for id in survivor] == [slots[id] for id in survivor]
    (child,) = [birth for birth in births if birth.agent not in (revived.agent, *slots)]
    assert child.parent == found[child.agent].parent == elite.id
    assert (child.kind, child.detail) == ("none", "")


def test_an_agent_that_is_as_good_as_the_elite_is_not_tried_again(monkeypatch):
    """Where returns stand still, every generation would spend the episodes of a confirmation."""
    exp = ev.Experiment(Paying, "TD3", population=2, num_envs=1, network=[8], steps_per_generation=12, seed=0,
                        hyperparameters={"batch_size": 8}, **by_episodes(2))  # fmt: skip
    exp.fill(24)
    monkeypatch.setattr(Paying, "wage", 2.0)
    assert [exp.step().confirmed for _ in range(3)] == [20.0, None, None]
    exp.close()


def test_of_equals_the_one_at_rest_is_the_best_and_of_others_the_one_in_the_lower_slot(still, monkeypatch):
    exp = still
    (seat,) = resting(exp._state)
    monkeypatch.setattr(exp._state.fitness, "estimate", lambda *_: iter([np.zeros(3)]))
    exp._state.fitness.lengths = np.ones((3, 1))
    exp._state.change(evolving=False)
    by_slot = sorted((one for one in exp.population.individuals if one is not seat), key=lambda one: one.slot)
    assert [one.agent for one in exp.step().evaluations] == [seat.id, *(one.id for one in by_slot)]


def test_lost_episodes_change_nothing_that_is_known_of_the_elite(run):
    run.hall.add(np.full(5, np.nan))
    run.hall.add(np.empty(0))
    run.hall.observe(Evaluated(np.full((1, 3), np.nan), np.zeros((1, 3))))
    assert (run.hall.fitness, run.hall.episodes) == (100.0, 20)


def test_an_agent_that_was_only_proposed_does_not_return(run):
    """Its fitness is not known, and minus infinity took the place of the worst agent."""
    for revives in (True, "resting"):
        run.hall.put_state({"elite_fitness": float("-inf"), "elite_episodes": 0}, run.hall.elite)
        run.hall.change(revives, 20)
        assert all(birth.kind != "revived" for birth in evolved(run, 3, np.array([3.0, 1.0, 2.0])))
    assert not resting(run)


@pytest.mark.parametrize(("offset", "returns"), [(0.0, True), (40.0, True), (60.0, False)])
def test_what_exploration_costs_is_no_reason_to_bring_the_elite_back(run, offset, returns):
    """The best agent seems to have 45; fresh episodes of agents gave `offset` more than they seemed to have."""
    run.hall.offset = offset
    births = evolved(run, 3, np.array([45.0, 1.0, 2.0]))
    assert any(birth.kind == "revived" for birth in births) is returns


class Trial:
    """A confirmation of agent 0 whose fresh episodes have returns and a length that are known beforehand.

    They lie around `returns`, from `spread` below to `spread` above. `played` notes (stage, episodes) of
    each turn; a stage from 16 on is one of the elite's own.
    """

    def __init__(self, population, returns=50.0, length=10, spread=0.0):
        self.population, self.returns, self.length, self.spread = population, returns, length, spread
        self.played = []

    def play(self, agent, episodes, stage):
        self.played.append((stage, episodes))
        self.agent = agent
        value = self.returns(stage) if callable(self.returns) else self.returns
        yield from ()
        returns = value + np.linspace(-self.spread, self.spread, episodes)[None] * (episodes > 1)
        return Evaluated(returns, np.full((1, episodes), self.length))

    def confirm(
        self, hall, fitness=40.0, target=None, allowance=np.inf, left=np.inf, length=10.0, ended=True
    ):
        candidate = Candidate(self.population, 0, fitness, length, allowance, left, ended)
        return self.result(hall.confirm(candidate, target, self.play))

    def observe(self, hall, target=None, allowance=np.inf, left=np.inf, length=10.0, fitness=60.0):
        """More episodes of the elite."""
        candidate = Candidate(self.population, 0, fitness, length, allowance, left)
        return self.result(hall.observe_elite(candidate, target, self.play))

    def result(self, trial):
        with pytest.raises(StopIteration) as end:
            next(trial)
        return end.value.value


@pytest.fixture(scope="module")
def population():
    with ev.envs.make(Toy, population=2, num_envs=1) as envs:
        return ev.Population(
            "DDPG", envs.single_observation_space, envs.single_action_space, 2, network=[4], seed=0
        )


def known(population, fitness, episodes):
    """A hall with an elite of which this is known."""
    hall = HallOfFame()
    hall.archive(population[1], fitness, episodes, fitness)
    return hall


def test_an_agent_below_the_elite_costs_no_confirmation(population):
    """Only who promises a record plays fresh episodes; who reaches the target is tried too."""
    hall, trial = known(population, 100.0, 20), Trial(population, 80.0)
    assert trial.confirm(hall, 99.0) is None
    assert trial.confirm(hall, 99.0, target=150.0) is None
    assert trial.confirm(hall, float("nan"), target=-1.0) is None
    assert not trial.played
    assert trial.confirm(hall, 99.0, target=90.0) == 80.0
    assert trial.played == [(0, 20)]
    assert (hall.fitness, hall.elite.id) == (100.0, 1)


def test_where_no_episode_has_to_be_saved_a_record_plays_twenty_and_a_target_eighty_more(population):
    hall, trial = HallOfFame(), Trial(population)
    assert trial.confirm(hall, left=29) is None, "the run's budget does not pay for the first three"
    assert trial.confirm(hall, left=200) == 50.0
    assert trial.played == [(0, 20)]
    assert (hall.fitness, hall.episodes, hall.elite.id, hall.offset) == (50.0, 20, 0, 0.0)
    trial.played.clear()
    assert trial.confirm(hall, 60.0, target=45.0) == 50.0
    assert trial.played == [(stage, 20) for stage in range(5)]


def test_where_episodes_have_to_be_saved_a_few_tell_whether_the_others_follow(population):
    hall, trial = known(population, 49.0, 20), Trial(population, spread=40.0)
    assert trial.confirm(hall, allowance=1e6, fitness=60.0) == pytest.approx(50.0)
    assert trial.played == [(0, 1), (1, FIRST - 1), (2, 20 - FIRST)]
    assert (hall.fitness, hall.episodes, hall.elite.id) == (pytest.approx(50.0), 20, 0)


@pytest.mark.parametrize(
    ("elite", "returns", "spread", "episodes"),
    [
        (-np.inf, 50.0, 40.0, FIRST),  # whoever is the first is better
        (50.0, 49.0, 40.0, 1),  # it has fallen behind
        (50.0, 60.0, 8.0, FIRST),  # ten ahead, which is more than luck
        (50.0, 60.0, 12.0, 20),  # which can be luck
    ],
)
def test_a_confirmation_ends_when_it_is_clear_who_is_better(population, elite, returns, spread, episodes):
    hall, trial = known(population, elite, 20), Trial(population, returns, spread=spread)
    trial.confirm(hall, 90.0, allowance=1e6)
    assert sum(count for _, count in trial.played) == episodes
    assert (hall.elite is not None and hall.elite.id == 0) is (returns > elite)


@pytest.mark.parametrize(
    ("seemed", "ended", "played", "elite"),
    [(41.0, True, 20, 0), (40.0, True, 1, 1), (39.0, True, 1, 1), (41.0, False, 1, 1)],
)
def test_of_equals_the_one_that_earned_more_while_it_learned_is_the_elite(
    population, seemed, ended, played, elite
):
    """Where returns have a highest value nobody could ever replace an elite that was lucky in a few episodes."""
    hall, trial = HallOfFame(), Trial(population, 100.0)
    hall.archive(population[1], 100.0, 3, 40.0)
    trial.confirm(hall, seemed, allowance=1e6, ended=ended)
    assert sum(count for _, count in trial.played) == played
    assert (hall.elite.id, hall.episodes, hall.seemed) == ((0, 20, 41.0) if elite == 0 else (1, 3, 40.0))


def test_of_equals_a_few_episodes_are_enough_where_no_more_can_be_paid(population):
    hall, trial = HallOfFame(), Trial(population, 100.0)
    hall.archive(population[1], 100.0, 19, 40.0)
    trial.confirm(hall, 50.0, allowance=30.0)
    assert (trial.played, hall.elite.id, hall.episodes) == ([(0, 1), (1, FIRST - 1)], 0, FIRST)


def test_an_elite_that_is_known_well_is_not_replaced_by_its_equal(population):
    hall, trial = HallOfFame(), Trial(population, 100.0)
    hall.archive(population[1], 100.0, 20, 40.0)
    trial.confirm(hall, 50.0, allowance=1e6)
    assert (trial.played, hall.elite.id, hall.episodes) == ([(0, 1)], 1, 20)


def test_an_agent_that_seems_bad_is_tried_as_well(population):
    """What an agent earns while it learns says little about the policy that it ends a generation with."""
    hall, trial = known(population, 100.0, 20), Trial(population, 110.0)
    hall.offset = -30.0
    assert trial.confirm(hall, 5.0, allowance=100.0) == 110.0
    assert (hall.fitness, hall.elite.id) == (110.0, 0)


def test_a_first_episode_below_the_elite_is_the_last_one(population):
    hall, trial = known(population, 100.0, 20), Trial(population, 99.0)
    assert trial.confirm(hall, 200.0, allowance=1e6) == 99.0
    assert trial.played == [(0, 1)]
    assert (hall.fitness, hall.episodes, hall.elite.id) == (100.0, 20, 1)


def test_one_episode_makes_no_elite(population):
    """The others of the first few follow from all that is left, and where that is too little nobody is confirmed."""
    hall, trial = known(population, 100.0, 20), Trial(population, 110.0)
    assert trial.confirm(hall, allowance=10.0, left=10.0 * FIRST - 1) == 110.0
    assert (trial.played, hall.elite.id) == ([(0, 1)], 1)
    assert trial.confirm(hall, allowance=10.0, left=10.0 * FIRST) == 110.0
    assert trial.played == [(0, 1), (0, 1), (1, FIRST - 1)]
    assert (hall.episodes, hall.elite.id) == (FIRST, 0)


def test_the_first_elite_waits_until_its_first_few_episodes_can_be_paid(population):
    hall, trial = HallOfFame(), Trial(population)
    assert trial.confirm(hall, allowance=10.0 * FIRST - 1) is None
    assert not trial.played
    assert trial.confirm(hall, allowance=10.0 * FIRST) == 50.0
    assert hall.episodes == FIRST


def test_an_episode_under_way_says_nothing_about_luck(population):
    hall, trial = HallOfFame(), Trial(population, -200.0)
    trial.confirm(hall, -125.0, allowance=1e6, ended=False)
    assert (hall.fitness, hall.offset) == (-200.0, 0.0)


def test_three_fresh_episodes_may_be_all(population):
    hall, trial = HallOfFame(confirmation=3), Trial(population)
    trial.confirm(hall, allowance=1e6)
    assert trial.played == [(0, 1), (1, 2)]


@pytest.mark.parametrize(
    ("allowance", "played"),
    [(-500.0, []), (9.0, []), (10.0, [1, 2]), (59.0, [1, 2]), (60.0, [1, 2, 3]), (1e9, [1, 2, 17])],
)
def test_an_allowance_is_spent_on_whole_episodes(population, allowance, played):
    hall, trial = (
        known(population, 49.0, 20),
        Trial(population, lambda stage: 50.0 + (stage == 0), spread=40.0),
    )
    found = trial.confirm(hall, 60.0, allowance=allowance)
    assert (found is None) is not bool(played)
    assert trial.played == list(enumerate(played))
    assert hall.episodes == (sum(played) or 20)


def test_who_may_have_reached_the_target_is_tried_with_all_that_is_left(population):
    """Four lucky episodes ended a run where the allowance was enough for no more."""
    hall, trial = HallOfFame(), Trial(population)
    assert trial.confirm(hall, target=45.0, allowance=40.0, left=1e6) == 50.0
    assert trial.played == [(0, 1), (1, FIRST - 1), (2, 20 - FIRST), *[(stage, 20) for stage in range(3, 7)]]
    assert hall.episodes == hall.enough == 100
    short = Trial(population, 60.0)
    short.confirm(hall := HallOfFame(), target=45.0, allowance=40.0, left=20.0 * FIRST - 1)
    assert short.played == [(0, 1), (1, FIRST - 1)], "what is left is too little to tell"
    assert hall.episodes == FIRST < hall.enough


def test_a_target_that_further_episodes_do_not_bear_out_costs_no_more_of_them(population):
    hall, trial = HallOfFame(), Trial(population, lambda stage: 50.0 if stage < 3 else 30.0)
    assert trial.confirm(hall, target=45.0, allowance=1e6) == pytest.approx(40.0)
    assert trial.played == [(0, 1), (1, FIRST - 1), (2, 20 - FIRST), (3, 20)]
    assert hall.fitness == pytest.approx(40.0), "all of them count"


def test_what_confirmed_agents_have_beyond_what_they_seemed_to_is_learned(population):
    hall, trial = HallOfFame(), Trial(population, 50.0)
    trial.confirm(hall, 40.0, allowance=1e6)
    assert hall.offset == pytest.approx(0.3 * 10.0)
    trial.confirm(hall, 48.0, allowance=1e6)
    assert hall.offset == pytest.approx(3.0 + 0.3 * (2.0 - 3.0))


def test_an_elite_that_is_known_from_few_episodes_plays_more_of_them(population):
    """Half of the allowance stays for those who challenge it."""
    hall, trial = known(population, 50.0, 4), Trial(population, 26.0)
    assert trial.observe(hall, allowance=240.0) == pytest.approx((4 * 50 + 12 * 26) / 16)
    assert trial.played == [(16, 1), (17, 11)]
    assert trial.agent is hall.elite
    assert trial.observe(hall, allowance=19.0) is None
    trial.observe(hall, allowance=240.0)
    assert trial.played == [(16, 1), (17, 11), (16, 1), (17, 3)]
    assert hall.episodes == 20
    assert trial.observe(hall, allowance=240.0) is None
    assert len(trial.played) == 4, "it is known well enough"


@pytest.mark.parametrize(("fitness", "played"), [(50.0, 8), (50.1, 4)])
def test_where_nobody_seems_better_the_whole_allowance_is_the_elites(population, fitness, played):
    hall, trial = known(population, 50.0, 4), Trial(population, 50.0)
    trial.observe(hall, allowance=80.0, fitness=fitness)
    assert sum(count for _, count in trial.played) == played


@pytest.mark.parametrize(("fitness", "episodes", "played"), [(40.0, 4, 8), (40.1, 4, 4), (40.1, 20, 0)])
def test_an_agent_that_earned_more_while_it_learned_than_the_elite_did_seems_better(
    population, fitness, episodes, played
):
    """Acting is compared with acting: exploration costs both of them, and fresh episodes flatter the elite alone."""
    hall, trial = HallOfFame(), Trial(population, 50.0)
    hall.archive(population[1], 50.0, episodes, 40.0)
    trial.observe(hall, allowance=80.0, fitness=fitness)
    assert sum(count for _, count in trial.played) == played


def test_episodes_longer_than_they_seemed_take_little_more_than_the_allowance(population):
    """Those of the best agent were short, those of the elite ran to their limit (MountainCarContinuous-v0)."""
    hall, trial = known(population, 50.0, 4), Trial(population, 26.0, length=1_000)
    trial.observe(hall, allowance=2_400.0)
    assert trial.played == [(16, 1)]
    trial = Trial(population, 50.0, length=1_000, spread=40.0)
    trial.confirm(known(population, 49.0, 20), 60.0, allowance=10_000.0)
    assert trial.played == [(0, 1), (1, FIRST - 1), (2, 7)]


def test_an_elite_that_seems_to_have_reached_the_target_plays_until_that_is_shown(population):
    hall, trial = known(population, 50.0, 20), Trial(population, 50.0)
    assert trial.observe(hall, target=45.0, allowance=0.0, left=450.0) == 50.0
    assert trial.played == [(16, 20), (17, 20), (18, 5)]
    assert hall.episodes == 65
    assert trial.observe(hall, target=45.0, allowance=0.0, left=1e6) == 50.0
    assert hall.episodes == 100
    count = len(trial.played)
    assert trial.observe(hall, target=45.0, allowance=0.0, left=1e6) == 50.0, "it was shown"
    assert len(trial.played) == count
    assert trial.observe(hall, target=55.0, allowance=0.0, left=1e6) is None


def test_an_elite_that_only_seemed_to_have_reached_the_target_goes_back(population):
    hall, trial = known(population, 50.0, 4), Trial(population, 20.0)
    assert trial.observe(hall, target=45.0, allowance=0.0, left=1e6) == pytest.approx(25.0)
    assert trial.played == [(16, 20)]


def test_a_trial_whose_episodes_were_all_lost_tells_nothing(population):
    hall, trial = HallOfFame(), Trial(population, float("nan"))
    assert trial.confirm(hall, allowance=1e6) is None
    assert trial.played == [(0, 1)]
    assert (hall.elite, hall.episodes, hall.offset) == (None, 0, 0.0)
    late = Trial(population, lambda stage: 50.0 if stage < 2 else float("nan"), spread=40.0)
    assert late.confirm(hall := known(population, 49.0, 20), 60.0, allowance=1e6) == pytest.approx(50.0)
    assert late.played == [(0, 1), (1, FIRST - 1), (2, 20 - FIRST)]
    assert hall.episodes == FIRST, "those that came to an end count"


def test_the_best_that_was_proposed_is_the_elite_until_somebody_is_confirmed(population):
    hall = HallOfFame()
    for row, fitness in ((0, 5.0), (1, 7.0), (0, 6.0)):
        hall.propose(population[row], fitness)
    assert (hall.elite.id, hall.proposed, hall.fitness, hall.episodes) == (1, 7.0, -np.inf, 0)
    trial = Trial(population, -3.0)
    assert trial.confirm(hall, -5.0, allowance=1e6) == -3.0
    assert (hall.elite.id, hall.fitness) == (0, -3.0), "what is confirmed counts, whatever was proposed"
    hall.propose(population[1], 100.0)
    assert hall.elite.id == 0


def test_a_proposal_plays_nothing_by_itself(population):
    hall, trial = HallOfFame(), Trial(population)
    hall.propose(population[1], 7.0)
    assert trial.confirm(hall, 5.0, allowance=9.0) is None
    assert trial.observe(hall, allowance=1e6) is None
    assert trial.played == []


def test_who_seems_exactly_as_good_as_the_elite_promises_no_record(population):
    trial = Trial(population, 100.0)
    assert trial.confirm(known(population, 100.0, 20), 100.0) is None
    assert trial.played == []


def test_a_target_that_is_met_exactly_is_met(population):
    hall, trial = known(population, 50.0, 1), Trial(population, 50.0)
    assert trial.observe(hall, target=50.0, allowance=0.0, left=1e6) == 50.0
    assert trial.confirm(hall, 90.0, target=50.0, allowance=0.0, left=1e6) is None
    assert trial.played == [(16, 20), (17, 20), (18, 20), (19, 20), (20, 19)], "until it is shown"


def test_a_few_that_are_alike_are_taken_to_differ_as_the_elite_s_episodes_do(population):
    """Where an episode earns 0 or 1, three successes in a row say little: twenty are played, if they can be paid."""
    hall, trial = HallOfFame(), Trial(population, 1.0)
    hall.archive(population[1], 0.75, 4, 0.5, deviations=0.75)  # 1, 1, 1, 0
    trial.confirm(hall, 0.9, allowance=1e6)
    assert sum(count for _, count in trial.played) == 20
    hall, trial = HallOfFame(), Trial(population, 1.0)
    hall.archive(population[1], 0.75, 4, 0.5)
    trial.confirm(hall, 0.9, allowance=1e6)
    assert sum(count for _, count in trial.played) == FIRST


def test_how_far_the_elite_s_episodes_lie_apart_is_known_from_all_of_them(population):
    hall, every = HallOfFame(), np.random.default_rng(0).normal(50.0, 9.0, 13)
    trial = Trial(population, 50.0, spread=3.0)
    trial.confirm(hall, 50.0, allowance=30.0)
    assert hall.deviations == pytest.approx(18.0), "47, 50 and 53: 9 + 0 + 9"
    hall.archive(population[0], 60.0)
    assert hall.deviations == 0.0
    hall = HallOfFame()
    hall.archive(population[0], float(every[:3].mean()), 3, 0.0, float(every[:3].var() * 3))
    hall.add(every[3:8])
    hall.add(every[8:])
    assert hall.episodes == 13
    assert hall.fitness == pytest.approx(every.mean())
    assert hall.deviations == pytest.approx(every.var() * 13)


def test_of_an_elite_s_further_episodes_those_that_came_to_an_end_count(population):
    hall = known(population, 10.0, 1)
    hall.observe(Evaluated(np.array([[20.0, np.nan, 30.0]]), np.full((1, 3), 5)))
    assert (hall.fitness, hall.episodes) == (20.0, 3)
