"""The archived elite as a last resort, and at rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import evolab as ev
from evolab.evaluation.episodes import Evaluated
from evolab.training.loop import evolved
from tests.toys import Choosing, Paying, Toy

KEPT = ev.Mutations(none=1, architecture=0, parameters=0, activation=0, hyperparameters=0)


def started(revive, algorithm="TD3", environment=Toy, **options):
    """An experiment of three agents after a generation whose best one was archived."""
    exp = ev.Experiment(environment, algorithm, population=3, num_envs=2, steps_per_generation=20, network=[8], seed=0,
                        hyperparameters={"batch_size": 8}, device="cpu", revive=revive, mutations=KEPT,
                        selection=ev.Truncation(0.34, warmup=2), **options)  # fmt: skip
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


@pytest.mark.parametrize("asked", ["rest", 2, None])
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
        exp._state.fitness.lengths = np.full((3, 1), 10)
        yield np.array([9.0 if one.resting is not None else -50.0 for one in population.individuals])

    def fresh(population, episodes, seed, paired=True):
        returns = np.full((len(population), episodes), 5.0)
        yield Evaluated(returns, np.full(returns.shape, 10))

    monkeypatch.setattr(exp._state.fitness, "estimate", lucky)
    monkeypatch.setattr(exp._state.evaluator, "play", fresh)
    generation = exp.step()
    assert hall.elite.id == elite
    assert [one.id for one in resting(exp._state)] == [seat.id]
    assert hall.episodes == 30 + 1 + 21, "one of the evaluation, seven each of three copies"
    assert hall.fitness == pytest.approx((30 * -3.0 + 9.0 + 21 * 5.0) / 52)
    assert generation.confirmed == hall.fitness == exp.elite.fitness
    assert hall.elite.individual().fitness[-2:] != [hall.fitness] * 2, "corrected, not noted again"


@pytest.mark.parametrize("confirmation", [3, 6])
def test_how_many_episodes_confirm_a_record_can_be_set_and_they_end_by_eval_steps(confirmation):
    exp = ev.Experiment(Toy, "TD3", population=3, num_envs=1, network=[8], steps_per_generation=12, seed=0,
                        hyperparameters={"batch_size": 8}, confirmation=confirmation, eval_steps=4)  # fmt: skip
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
    exp._state.hall.observe(50.0, 13)
    known = exp._state.hall.take_state()
    exp.save(tmp_path / "run")
    hall = ev.Experiment.load(tmp_path / "run", environment=Toy)._state.hall
    assert hall.take_state() == known
    assert hall.elite.id == exp.elite.id
    hall.put_state({"elite_fitness": 7.0}, hall.elite)
    assert (hall.fitness, hall.episodes) == (7.0, 20)
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
    assert child.detail == f"copy of {elite.id}"


def test_an_agent_that_is_as_good_as_the_elite_is_not_tried_again(monkeypatch):
    """Where returns stand still, every generation would spend the episodes of a confirmation."""
    exp = ev.Experiment(Paying, "TD3", population=2, num_envs=1, network=[8], steps_per_generation=12, seed=0,
                        hyperparameters={"batch_size": 8})  # fmt: skip
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


def test_an_agent_below_the_elite_costs_no_confirmation(run):
    """Only who promises a record plays fresh episodes; who reaches the target is tried too."""
    played = []

    def play(copies, episodes, stage):
        played.append(stage)
        yield from ()
        return Evaluated(np.full((len(copies), episodes), 80.0), np.full((len(copies), episodes), 6))

    def confirmed(fitness, target):
        trial = run.hall.confirm(run.population, 0, fitness, target, play)
        with pytest.raises(StopIteration) as end:
            next(trial)
        return end.value.value

    assert confirmed(99.0, None) is None
    assert confirmed(99.0, 150.0) is None
    assert not played
    assert confirmed(99.0, 90.0) == 80.0
    assert played == [0]


def test_lost_episodes_change_nothing_that_is_known_of_the_elite(run):
    run.hall.observe(float("nan"), 5)
    run.hall.observe(50.0, 0)
    assert run.hall.fitness == 100.0
