"""Priorities: chances and weights by hand, what is new, what is overwritten, what is saved."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import evolab as ev
from evolab.core.sampling import Lookahead, Sampling
from evolab.data.buffers import priorities as module
from evolab.data.buffers.priorities import Priorities, weights
from evolab.data.buffers.saving import Written, read_buffer, write_buffer
from evolab.storage.files import Damaged
from evolab.storage.folders import Saved, drafting

ROWS = slice(0, 3)
EXPONENTS = torch.tensor([0.0, 0.5, 1.0])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def steps(count, agents=1, envs=1, first=0):
    """Transitions whose observation is their number."""
    for at in range(first, first + count):
        number = np.full((agents, envs, 1), at, "f") + np.arange(envs, dtype="f")[:, None] * 1000
        number = number + np.arange(agents, dtype="f")[:, None, None] * 10_000
        flags = np.zeros((agents, envs), bool)
        yield SimpleNamespace(
            observation=number, action=number, reward=number[..., 0], next_observation=number + 1,
            terminated=flags, truncated=flags, valid=None,
        )  # fmt: skip


def filled(count, capacity=40, shared=True, **about):
    buffer = ev.ReplayBuffer(capacity, shared=shared)
    for one in steps(count, **about):
        buffer.add(one)
    return buffer


def how(priority=EXPONENTS, importance=1.0, **more):
    return Sampling(priority=priority, importance=torch.full_like(priority, importance), **more)


def learn(buffer, errors, rows=ROWS, updates=1, sampling=None, size=64):
    """Batches of some updates, each of which tells these errors, by the number that was observed."""
    found = []
    for batch in buffer.batches(rows, size, updates, generator(), sampling or how()):
        batch.error.copy_(errors(batch.observation[..., 0]))
        found.append(batch)
    return found


def test_transitions_are_drawn_in_proportion_to_the_power_of_their_errors():
    """100 transitions, more than one line of the tree, of which each has its own error for each agent."""
    known = Priorities(100, torch.device("cpu"))
    known.be_of(3, [torch.arange(100)])
    errors = torch.linspace(0.1, 5.0, 100).repeat(3, 1) * torch.tensor([[1.0], [2.0], [3.0]])
    known.learn(ROWS, torch.arange(100).repeat(3, 1), errors)
    places, chance = known.draw(ROWS, 200_000, EXPONENTS, generator())
    powers = (errors + module.LEAST).double() ** EXPONENTS[:, None].double()
    expected = powers / powers.sum(1, keepdim=True)
    assert torch.allclose(chance, expected.gather(1, places), rtol=1e-6)
    for row in range(3):
        share = places[row].bincount(minlength=100) / 200_000
        assert (share - expected[row]).abs().max() < 5 * (expected[row].max() / 200_000) ** 0.5


@pytest.mark.parametrize("capacity", [1, 31, 32, 33, 1024, 1025, 40_000])
def test_any_number_of_places_has_a_tree(capacity):
    known, stream = Priorities(capacity, torch.device("cpu")), generator(1)
    stored = torch.randperm(capacity, generator=stream)[: max(1, capacity // 2)]
    known.be_of(2, [stored])
    exponents = torch.tensor([1.0, 0.3])
    for _ in range(20):
        place, _ = known.draw(slice(0, 2), 64, exponents, stream)
        assert torch.isin(place, stored).all(), "something was drawn that is not stored"
        known.learn(slice(0, 2), place, torch.rand(2, 64, generator=stream) * 1e3)
        powers = known.sizes.double() ** exponents.double()[:, None] * (known.sizes > 0)
        assert torch.allclose(known._levels[-1].sum(-1), powers.sum(-1), rtol=1e-12)
    assert torch.allclose(known._levels[0][:, :capacity], powers)


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_not_even_the_ends_of_the_range_draw_what_is_not_stored(monkeypatch, chance):
    known = Priorities(100, torch.device("cpu"))
    known.be_of(3, [torch.arange(40, 60)])
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, chance, dtype=torch.float64))
    place, found = known.draw(ROWS, 5, EXPONENTS, generator())
    assert (place == (40 if chance == 0 else 59)).all()
    assert found.tolist() == [[pytest.approx(1 / 20)] * 5] * 3


def test_what_is_written_counts_in_every_sum_above_it():
    """Also where it lies across lines of the tree, of which there are four, or goes round the end."""
    known = Priorities(40_000, torch.device("cpu"))
    known.be_of(3, [torch.arange(10)])
    known.draw(ROWS, 1, EXPONENTS, generator())
    for start, count in ((10, 1), (1000, 100), (32_767, 2), (39_990, 30), (2048, 1024)):
        known.fresh(slice(None), start, count)
        found = [level.clone() for level in known._levels]
        known._plant()
        assert all(map(torch.equal, found, known._levels)), (start, count)


def test_what_is_new_counts_as_much_as_the_largest_error_so_far():
    buffer = filled(4)
    learn(buffer, lambda number: torch.where(number == 2, 9.0, 0.5))
    assert torch.allclose(buffer.priorities.sizes[:, :4], torch.tensor([0.5, 0.5, 9.0, 0.5]) + 1e-6)
    buffer.add(next(iter(steps(1, first=4))))
    assert buffer.priorities.sizes[:, 4].tolist() == pytest.approx([9.0] * 3, abs=1e-5)
    assert buffer.priorities.sizes[:, 5:].sum() == 0


def test_an_agent_has_priorities_of_its_own_and_so_have_pools():
    for shared in (True, False):
        buffer = filled(5, shared=shared, agents=3)
        wrong = torch.tensor([[0.0], [1.0], [2.0]])
        learn(buffer, lambda number, wrong=wrong: wrong.expand_as(number), size=200)
        stored = buffer.priorities.sizes[:, : len(buffer)]
        assert torch.allclose(stored, (wrong + 1e-6).expand_as(stored))
        batch = learn(buffer, torch.zeros_like, size=50)[0]
        owners = (batch.observation[..., 0] // 10_000).long()
        if not shared:
            assert (owners == torch.arange(3)[:, None]).all(), "an agent has drawn from another's pool"


def test_weights_undo_the_chances_at_1_and_nothing_at_0():
    chance = torch.tensor([[0.1, 0.4], [0.1, 0.4]], dtype=torch.float64)
    found = weights(chance, torch.tensor([[5.0]]), torch.tensor([1.0, 0.0]))
    assert found.tolist() == [pytest.approx([2.0, 0.5]), [1.0, 1.0]]
    half = weights(chance, torch.tensor([[5.0]]), torch.tensor([0.5, 0.5]))
    assert half[0].tolist() == pytest.approx([2**0.5, 0.5**0.5])


def test_the_mean_over_a_batch_is_that_over_what_is_stored():
    buffer = filled(30)
    learn(buffer, lambda number: number / 10 + 0.1, size=500)
    (batch,) = learn(buffer, torch.ones_like, sampling=how(importance=1.0), size=100_000)
    number, weight = batch.observation[..., 0], batch.weight
    mean = (weight * number).sum(-1) / weight.sum(-1)
    assert mean.tolist() == pytest.approx([14.5] * 3, abs=0.15)
    assert number.mean(-1)[2] > 18, "the last agent draws large errors more often"


def test_rows_that_are_overwritten_are_new_again():
    buffer = filled(40)
    learn(buffer, lambda number: torch.full_like(number, 0.25), size=2000)
    for one in steps(7, first=100):
        buffer.add(one)
    sizes = buffer.priorities.sizes
    assert (sizes[:, :7] == 1.0).all()
    assert torch.allclose(sizes[:, 7:], torch.tensor(0.25 + 1e-6))
    rebuilt = Priorities(40, torch.device("cpu"))
    rebuilt.restore(buffer.priorities.tensors(buffer.stored_places()), buffer.stored_places())
    rebuilt._exponent = buffer.priorities._exponent.clone()
    rebuilt._plant()
    for mine, again in zip(buffer.priorities._levels, rebuilt._levels, strict=True):
        assert torch.equal(mine, again), "the tree is not what follows from the priorities"


def test_an_exponent_that_changes_acts_on_what_was_learned_before():
    buffer = filled(3)
    learn(buffer, lambda number: number + 1, size=200)
    (batch,) = learn(buffer, torch.ones_like, sampling=how(torch.tensor([2.0, 2.0, 2.0])), size=50_000)
    share = (batch.observation[0, :, 0] == 2).double().mean().item()
    assert share == pytest.approx(9 / 14, abs=0.01)


def test_returns_over_several_steps_and_goals_go_with_it():
    buffer = filled(10)
    learn(buffer, lambda number: torch.where(number == 3, 5.0, 0.001), size=500)
    ahead = Lookahead(torch.full((3,), 2.0), torch.full((3,), 0.5, dtype=torch.float64), 2)
    (batch,) = learn(buffer, torch.ones_like, sampling=how(lookahead=ahead), size=300)
    number = batch.observation[..., 0]
    assert (number[2] == 3).double().mean() > 0.98
    expected = torch.where(number == 9, number, number + 0.5 * (number + 1))
    assert torch.equal(batch.reward, expected)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_errors_that_are_no_numbers_change_nothing_and_are_named(bad):
    buffer = filled(10)
    learn(buffer, torch.ones_like, size=200)
    before = buffer.priorities.sizes.clone()
    broken = torch.tensor([[1.0], [bad], [1.0]])
    learn(buffer, lambda number: broken.expand_as(number), size=200)
    assert torch.equal(buffer.priorities.sizes, before)
    assert all(torch.isfinite(level).all() for level in buffer.priorities._levels)
    assert buffer.take_diverged() == [1]
    assert buffer.take_diverged() == []


def test_samples_that_are_not_an_agent_s_own_tell_nothing():
    buffer = filled(10)
    learn(buffer, torch.ones_like, size=200)
    before = buffer.priorities.sizes.clone()
    learn(buffer, lambda number: torch.where(number == 4, 7.0, -1.0), size=200)
    changed = (buffer.priorities.sizes != before).nonzero().tolist()
    assert changed == [[0, 4], [1, 4], [2, 4]]


def test_an_update_that_tells_nothing_at_all_is_refused():
    with pytest.raises(TypeError, match=r"hand noted=batch\.error to its gradient_step"):
        learn(filled(10), lambda number: torch.full_like(number, -1.0))


def test_agents_that_move_keep_their_priorities():
    buffer = filled(10)
    learn(buffer, lambda number: number * torch.tensor([[1.0], [2.0], [3.0]]), size=500)
    sizes, largest = buffer.priorities.sizes.clone(), buffer.priorities.largest.clone()
    buffer.follow([2, 2, 0, 1])
    assert torch.equal(buffer.priorities.sizes, sizes[[2, 2, 0, 1]])
    assert torch.equal(buffer.priorities.largest, largest[[2, 2, 0, 1]])
    assert len(learn(buffer, torch.ones_like, slice(0, 4), sampling=how(torch.ones(4)))) == 1
    buffer.follow([3])
    assert len(buffer.priorities) == 1


def saved(buffer, where):
    with drafting(where, "generation") as draft:
        about, _ = write_buffer(draft, where, buffer, Written())
    return about


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("count", [17, 55])
def test_a_resumed_buffer_draws_the_same(tmp_path, shared, count):
    buffer, again = filled(count, shared=shared, agents=3), ev.ReplayBuffer(40, shared=shared)
    learn(buffer, lambda number: number.abs().sqrt(), updates=3)
    about = saved(buffer, tmp_path / "one")
    read_buffer(Saved(tmp_path / "one", "generation"), about, again)
    for one in steps(3, agents=3, first=900):
        for each in (buffer, again):
            each.add(one)
    mine, theirs = (
        learn(each, lambda number: (number % 7).abs(), updates=5, size=9) for each in (buffer, again)
    )
    for one, other in zip(mine, theirs, strict=True):
        assert torch.equal(one.observation, other.observation)
        assert torch.equal(one.weight, other.weight)
    assert torch.equal(buffer.priorities.sizes, again.priorities.sizes)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_priorities_in_a_file_that_are_none_are_named(tmp_path, value):
    buffer = filled(10)
    learn(buffer, torch.ones_like)
    buffer.priorities.sizes[1, 3] = value
    about = saved(buffer, tmp_path / "one")
    with pytest.raises(Damaged, match=r"priorities\.safetensors does not fit the buffer: sizes has values"):
        read_buffer(Saved(tmp_path / "one", "generation"), about, ev.ReplayBuffer(40))


def test_an_older_boundary_keeps_its_priorities(tmp_path):
    buffer = filled(10)
    learn(buffer, torch.ones_like, size=200)
    kept = buffer.priorities.kept()
    before = kept.sizes.clone()
    learn(buffer, lambda number: number, size=200)
    assert torch.equal(kept.sizes, before)
