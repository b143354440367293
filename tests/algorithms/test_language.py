"""BC and ILQL: against one agent in plain PyTorch, and that nothing of an agent is lost on the way."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import evolab as ev
from evolab.algorithms.ilql import expectile_error, heads, next_value, returns_to_go
from evolab.core.experience import Episodes
from evolab.evolution.evolve import evolve
from evolab.evolution.mutation.mutations import Mutations
from evolab.evolution.selection.tournament import Tournament
from evolab.networks.base import Layout
from evolab.networks.gpt.gpt import GPT
from evolab.population.population import Population
from tests import languages
from tests.languages import ACTIONS, SPACE, T, V

BATCH = 8


@pytest.mark.parametrize("algorithm", ["BC", "ILQL"])
def test_one_of_many_learns_as_if_alone(algorithm):
    many = languages.population(algorithm)
    assert len({member.genes for member in many.individuals}) > 2
    agents = [languages.Single(many, row) for row in range(4)]
    for update in range(8):
        batch = languages.episodes(4, BATCH, seed=update)
        losses = many.learn(batch)
        for row, agent in enumerate(agents):
            parts = languages.own(batch, row, agent.settings["batch_size"])
            expected = (
                {"policy": languages.bc(agent, parts)} if algorithm == "BC" else languages.ilql(agent, parts)
            )
            for name, loss in expected.items():
                assert abs(float(losses[name][row]) - loss) < 1e-9
    languages.compare(many, agents)


@pytest.mark.parametrize("algorithm", ["BC", "ILQL"])
def test_sleeping_units_never_move_and_an_agent_can_learn_alone(algorithm):
    many = languages.population(algorithm)
    twin = many.copy(range(4))
    for update in range(4):
        batch = languages.episodes(4, BATCH, seed=update)
        many.learn(batch)
        for row in range(4):
            twin[row].learn(Episodes(**{n: getattr(batch, n)[row] for n in vars(batch) if n != "weight"}))
    for name, value in many.table.items():
        assert float((value - twin.table[name]).abs().max()) < 1e-10, name
    asleep = 0
    for group in many.groups:
        for row in range(group.start, group.stop):
            genes = many.individuals[row].genes
            for name, role in many.roles.items():
                awake = torch.zeros(group.bound[name].layouts[0].size, dtype=torch.bool)
                views = group.bound[name].layouts[0].views(awake)
                for key, axes in many.network.axes(role, genes).items():
                    views[key][tuple(slice(0, axis.size) for axis in axes)] = True
                moved = many.table[name][row, :, : len(awake)][:, ~awake]
                asleep += moved.numel()
                assert not moved.any(), f"{name} of row {row}"
    assert asleep > 0


@pytest.mark.parametrize("algorithm", ["BC", "ILQL"])
def test_an_update_waits_for_nothing(algorithm):
    meta = Population(algorithm, SPACE, ACTIONS, 2, network=GPT(width=16), seed=0, device="meta")
    losses = meta.learn(languages.episodes(2, BATCH))
    assert all(loss.device.type == "meta" for loss in losses.values())


def test_hand_computed_targets():
    # Two choices at places 1 and 4, a reply between them, cut behind place 5.
    batch = Episodes(
        tokens=torch.zeros(1, 1, 6, dtype=torch.int64),
        action_mask=torch.tensor([[[False, True, False, False, True, False]]]),
        reward=torch.tensor([[[0.0, 1.0, 0.0, 0.0, 2.0, 0.0]]]),
        terminated=torch.tensor([[False]]),
        length=torch.tensor([[6]]),
    )
    state = torch.arange(10.0, 16.0).view(1, 1, 6)
    cut = next_value(state, batch)
    assert cut[0, 0, [0, 3]].tolist() == [13.0, 15.0], "V before the next choice, V behind the last token"
    batch.terminated = torch.tensor([[True]])
    assert next_value(state, batch)[0, 0, [0, 3]].tolist() == [13.0, 0.0], "nothing follows an end"
    following = returns_to_go(batch.reward[..., 1:], batch.action_mask[..., 1:], torch.tensor([[0.5]]))
    assert following[0, 0, [0, 3]].tolist() == [2.0, 2.0]
    assert expectile_error(torch.tensor([2.0, -2.0]), torch.tensor(0.9)).tolist() == pytest.approx([3.6, 0.4])
    first, second, value = heads(torch.arange(5.0))
    assert (first.tolist(), second.tolist(), float(value)) == ([0.0, 1.0], [2.0, 3.0], 4.0)


def test_decoding_adds_beta_times_the_advantage():
    many = languages.population("ILQL")
    group = many.groups[0]
    policy = torch.randn(len(group), 3, V, dtype=torch.float64)
    value = torch.randn(len(group), 3, 2 * V + 1, dtype=torch.float64)

    def forward(name, target=False):
        assert target == (name == "value")
        return value if target else policy

    scores = many.algorithm.scores(group, forward)
    advantage = torch.minimum(value[..., :V], value[..., V : 2 * V]) - value[..., -1:]
    beta = torch.tensor([many.individuals[r].hyperparameters["beta"] for r in range(group.start, group.stop)])
    assert torch.allclose(scores, policy.log_softmax(-1) + beta.double()[:, None, None] * advantage)


def test_every_head_survives_a_clone_a_mutation_and_the_disk(tmp_path):
    many = languages.population("ILQL")
    many.learn(languages.episodes(4, BATCH))
    for value in many.table.values():  # every row its own number in every entry that is awake
        if value.dim() == 3:
            ids = torch.tensor(many.ids, dtype=value.dtype)[:, None, None] + 1
            value.copy_(torch.where(value != 0, ids * 1e-3, value))
    before = {agent.id: many.individual(many.row(agent.id)).tensors for agent in many}
    before = {i: {k: {n: v.clone() for n, v in s.items()} for k, s in t.items()} for i, t in before.items()}
    kinds = {"policy", "policy.mean", "policy.square", "value", "value.target", "value.mean", "value.square"}
    assert all(set(tensors) == kinds for tensors in before.values())
    many[2].save(tmp_path / "agent")
    again = ev.Agent.load(tmp_path / "agent")
    loaded = again.individual().tensors
    for kind, state in before[many.ids[2]].items():
        for name, value in state.items():
            assert torch.equal(loaded[kind][name], value), f"{kind} {name}"
    births = evolve(
        many,
        [0.0, 3.0, 1.0, 2.0],
        Tournament(),
        Mutations(none=1, architecture=1, activation=0),
        generation=1,
    )
    for birth in births:
        member = many.individual(many.row(birth.agent))
        assert set(member.tensors) == kinds
        if birth.kind in ("elite", "none"):
            for kind, state in before[birth.parent].items():
                for name, value in state.items():
                    assert torch.equal(member.tensors[kind][name], value), f"{kind} {name} of {birth}"
    many.learn(languages.episodes(4, BATCH))


def test_growth_keeps_what_every_network_says():
    many = languages.population("ILQL")
    given = languages.episodes(1, 5).tokens.expand(4, -1, -1)
    before = {id: _answers(many, many.row(id), given) for id in many.ids}
    mutations = Mutations(
        none=0, architecture=1, parameters=0, activation=0, hyperparameters=0, new_layer=0.5
    )
    grown = 0
    for generation in range(6):
        parents = {id: many.individuals[many.row(id)].genes for id in many.ids}
        sizes = {id: sum(genes.hidden) for id, genes in parents.items()}
        births = evolve(many, np.arange(4.0), Tournament(), mutations, generation=generation)
        after = {id: _answers(many, many.row(id), given) for id in many.ids}
        for birth in births:
            genes = many.individuals[many.row(birth.agent)].genes
            if sum(genes.hidden) > sizes[birth.parent]:
                grown += 1
                for old, new in zip(before[birth.parent], after[birth.agent], strict=True):
                    assert float((old - new).abs().max()) < 1e-12, birth
        before = after
    assert grown > 2


def _answers(many, row, given):
    group = many.table.solo(row)
    with torch.no_grad():
        return [
            group.network(name, target)(given[:1])
            for name, target in (("policy", False), ("value", False), ("value", True))
        ]


def test_bc_and_ilql_say_what_they_need():
    from gymnasium import spaces

    with pytest.raises(TypeError, match=r"BC needs a language environment, such as ev.envs.WordGame"):
        Population("BC", spaces.Box(-1, 1, (3,)), spaces.Discrete(2), 1)
    with pytest.raises(TypeError, match="GPT needs sequences of tokens"):
        Population("DQN", spaces.Box(-1, 1, (3,)), spaces.Discrete(2), 1, network=GPT())
    assert isinstance(Population("ILQL", SPACE, ACTIONS, 1).network, GPT)


def test_acting_takes_the_best_action_behind_the_last_token():
    many = languages.population("BC")
    given = languages.episodes(4, 5, seed=2)
    tokens = torch.where(torch.arange(T) < 5, given.tokens.clamp(max=V - 2), V - 1)
    tokens[:, 1, 3:] = V - 1  # another length
    chosen = many.act(tokens, explore=False)
    for row in range(4):
        module = many[row].module()
        for column in range(5):
            said = tokens[row, column, : 3 if column == 1 else 5]
            expected = module(said[None])[0, -1, : V - 1].argmax()
            assert int(chosen[row, column]) == int(expected)
    assert many[0].act(tokens[0, 0].numpy()) == int(chosen[0, 0])
    assert Layout.of(many.network.axes(many.roles["policy"], many[0].genes)).size == many[0].network_size
