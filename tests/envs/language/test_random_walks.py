"""The random-walks task: its graph, its optimality, and that the data leave room to do better."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evolab.envs import RandomWalks


def paths(walks, start, limit):
    """Fewest steps by trying all walks of growing length, which needs no cleverness to be right."""
    here = np.zeros(walks.nodes, dtype=bool)
    here[start] = True
    for steps in range(limit + 1):
        if here[0]:
            return steps
        here = (walks.edges & here[:, None]).any(0)
    return None


@pytest.mark.parametrize("seed", [0, 1, 1002])
def test_shortest_paths_are_shortest(seed):
    walks = RandomWalks(seed=seed)
    assert [paths(walks, node, 10) for node in range(21)] == walks.shortest.tolist()
    assert walks.shortest.max() < walks.longest
    assert walks.edges.any(1).all()
    assert not walks.edges.diagonal().any()


def follow(walks, path):
    """A policy that walks along `path`, whatever it hears."""
    return walks.play_many(lambda turn: torch.tensor(path)[turn.length], [path[0]])


def test_optimality_is_known_by_hand():
    walks = RandomWalks(nodes=4, edge_probability=0.0, longest=6, seed=0)
    walks.edges[:] = False
    for here, there in [(3, 2), (2, 1), (1, 0), (2, 3), (3, 0)]:
        walks.edges[here, there] = True
    walks.shortest[:] = [0, 1, 2, 1]
    assert follow(walks, [3, 0]).mean_return == 1.0  # 1 step, the fewest
    assert follow(walks, [3, 2, 1, 0]).mean_return == pytest.approx(3 / 5)  # (6 - 3) / (6 - 1)
    assert follow(walks, [2, 3, 0]).mean_return == 1.0
    assert follow(walks, [1, 3, 0]).returns.tolist() == [0.0]  # no such edge
    assert follow(walks, [2, 3, 2, 3, 2, 3, 2]).returns.tolist() == [0.0]  # too long
    assert follow(walks, [2, 3, 2, 3, 2, 3, 0]).returns.tolist() == [0.0]  # at the last moment


def test_the_return_is_the_optimality():
    walks = RandomWalks()
    data = walks.record(500, seed=3).checked()
    assert torch.allclose(data.returns, walks.optimality(data))
    assert data.terminated.all()
    assert ((data.returns >= 0) & (data.returns <= 1)).all()


def test_a_shortest_walk_is_optimal_and_a_random_one_leaves_room():
    walks = RandomWalks()
    assert walks.record(200, player="shortest").mean_return == 1.0
    assert 0.2 < walks.record(1_000).mean_return < 0.5


def test_the_best_walks_lie_in_pieces_within_the_data():
    walks = RandomWalks()
    data = walks.record(1_000)
    seen = np.zeros_like(walks.edges)
    for path, length in zip(data.tokens.tolist(), data.length.tolist(), strict=True):
        seen[path[: length - 1], path[1:length]] = True
    assert (seen <= walks.edges).all()
    assert seen[1:].sum() == walks.edges[1:].sum()  # every edge that can be used was used


def test_the_graph_is_of_its_seed():
    assert np.array_equal(RandomWalks(seed=5).edges, RandomWalks(seed=5).edges)
    assert not np.array_equal(RandomWalks(seed=5).edges, RandomWalks(seed=6).edges)


def test_many_nodes_have_longer_names():
    walks = RandomWalks(nodes=40, edge_probability=0.1)
    data = walks.record(3)
    text = walks.tokenizer.decode(data.tokens[0].tolist())
    assert walks.tokenizer.encode(text) == data.tokens[0, : int(data.length[0])].tolist()


def test_it_renders_the_walk():
    walks = RandomWalks(render_mode="ansi")
    walks.reset(options={"start": 3})
    walks.step(0)
    assert walks.render() == "d > a"


def test_what_cannot_be_is_told():
    with pytest.raises(
        ValueError, match=r"no graph of 60 nodes with edge_probability=0.0 .* raise edge_probability"
    ):
        RandomWalks(nodes=60, edge_probability=0.0, longest=3)
    with pytest.raises(ValueError, match="the start is 0; expected a node from 1 to 20"):
        RandomWalks().reset(options={"start": 0})
    with pytest.raises(ValueError, match='player is \'best\'; expected "random" or "shortest"'):
        RandomWalks().record(1, player="best")
