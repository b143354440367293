"""Random walks on a graph: learn from aimless walks to reach the goal by a shortest path.

The small, sharp yardstick of offline language learning: imitation can only be as good as the walks,
while a learner that stitches pieces of different walks together finds every shortest path.

Source: Chen et al. 2021, Decision Transformer, section 3 (the illustrative example).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from evolab.core.checks import finite, positive_integer
from evolab.core.rng import numpy_stream
from evolab.data.datasets.token_arrays import TokenEpisode
from evolab.data.datasets.tokenizer import Tokenizer
from evolab.data.datasets.tokens import TokenDataset
from evolab.envs.language.environment import LanguageEnvironment
from evolab.envs.language.turns import Reply

LETTERS = "abcdefghijklmnopqrstuvwxyz"
ATTEMPTS = 1_000  # graphs drawn before giving up
UNREACHABLE = np.iinfo(np.int64).max


@dataclass
class Walk:
    """The state of one walk.

    Attributes:
        start: where it began.
        node: where it is.
        steps: made so far.
    """

    start: int
    node: int
    steps: int = 0


class RandomWalks(LanguageEnvironment):
    """Walk along the edges of a directed graph to the goal, node 0, in as few steps as possible.

    A token is a node: the environment says where the walk begins, the agent where it goes next.
    The reward comes at the end: the walk's optimality in 0..1, so that the mean return is the mean
    optimality. It is (longest - steps) / (longest - shortest) where the goal was reached, `shortest`
    being the fewest steps from that start, and 0 where a step was no edge or `longest` steps were
    not enough. Every node may be chosen: where the edges are is for the agent to find out.

    Args:
        nodes: of the graph, the goal included.
        edge_probability: of an edge from one node to another; each node has one at least, and a
            path to the goal in fewer steps than `longest`.
        longest: steps after which a walk is over.
        seed: of the graph.
        render_mode: None or "ansi".

    Attributes:
        edges: bool [N, N], from row to column.
        shortest: int64 [N], fewest steps to the goal.

    Raises:
        ValueError: no such graph was found.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 2}  # noqa: RUF012  # Gymnasium declares it so
    utterance = 1

    def __init__(
        self,
        nodes: int = 21,
        edge_probability: float = 0.1,
        longest: int = 10,
        seed: int = 1002,
        render_mode: str | None = None,
    ) -> None:
        self.nodes = positive_integer("nodes", nodes, minimum=2)
        self.longest = positive_integer("longest", longest, minimum=2)
        chance = finite("edge_probability", edge_probability, 0.0, 1.0)
        self._graph = {"edge_probability": chance, "seed": seed}
        self.edges, self.shortest = _graph(nodes, chance, longest, seed)
        few = nodes <= len(LETTERS)
        names = list(LETTERS[:nodes]) if few else [f"n{node}" for node in range(nodes)]
        tokenizer = Tokenizer([*names, "<pad>"], separator="" if few else " ")
        super().__init__(tokenizer, 1 + longest, range(1, nodes), render_mode)

    @property
    def options(self) -> dict[str, Any]:
        """What makes the same graph."""
        return {"nodes": self.nodes, "longest": self.longest} | self._graph

    def begin(self, start: object) -> tuple[Walk, Sequence[int]]:
        """A walk from node `start`.

        Raises:
            ValueError: there is no such node, or it is the goal.
        """
        if isinstance(start, bool) or not isinstance(start, int) or not 1 <= start < self.nodes:
            raise ValueError(
                f"the start is {start!r}; expected a node from 1 to {self.nodes - 1} (0 is the goal)."
            )
        return Walk(start, start), [start]

    def hear(self, state: Walk, token: int) -> Reply:
        """Go to a node."""
        state.steps += 1
        if not self.edges[state.node, token]:
            return Reply(terminated=True)
        state.node = token
        if token == 0:
            shortest = int(self.shortest[state.start])
            return Reply(reward=(self.longest - state.steps) / (self.longest - shortest), terminated=True)
        return Reply(terminated=state.steps >= self.longest)

    def record(self, episodes: int, seed: int = 0, player: str = "random") -> TokenDataset:
        """Walks from random nodes.

        Args:
            episodes: so many.
            seed: of the walks.
            player: "random" (any edge) or "shortest" (along a shortest path, any of them).

        Raises:
            ValueError: for another player.
        """
        if player not in ("random", "shortest"):
            raise ValueError(f'player is {player!r}; expected "random" or "shortest".')
        stream = numpy_stream(seed, "record")
        episodes = positive_integer("episodes", episodes)
        walks = [self._walk(self.draw(stream), player == "shortest", stream) for _ in range(episodes)]
        return TokenDataset.of(walks, self.tokenizer, self.name)

    def optimality(self, data: TokenDataset) -> Tensor:
        """float32 [B] in 0..1, worked out from the walks themselves; equal to `data.returns`.

        Raises:
            DatasetError: they are not walks of this environment.
        """
        self.check(data)
        found = data.returns.new_zeros(len(data))
        for row, (tokens, length) in enumerate(zip(data.tokens.tolist(), data.length.tolist(), strict=True)):
            path = tokens[:length]
            whole = all(self.edges[here, there] for here, there in zip(path, path[1:]))
            if whole and path[-1] == 0:
                found[row] = (self.longest - length + 1) / (self.longest - int(self.shortest[path[0]]))
        return found

    def _walk(self, start: int, short: bool, stream: np.random.Generator) -> TokenEpisode:
        episode = TokenEpisode(start)
        state, prompt = self.begin(start)
        episode.hear(prompt)
        while not episode.terminated:
            ways = np.flatnonzero(self.edges[state.node])
            if short:
                ways = ways[self.shortest[ways] == self.shortest[ways].min()]
            token = int(ways[stream.integers(len(ways))])
            reply = self.hear(state, token)
            episode.say(token, reply.reward)
            episode.terminated = reply.terminated
        return episode

    def render(self) -> Any:
        """The walk so far, such as "f > c > a", in mode "ansi"."""
        if self.render_mode is None or self._game is None:
            return None
        return " > ".join(self.tokenizer.vocabulary[node] for node in self._game.episode.tokens)

    def __repr__(self) -> str:
        return (
            f"RandomWalks({self.nodes} nodes, {int(self.edges.sum())} edges, goal {self.tokenizer.vocabulary[0]!r} "
            f"at most {int(self.shortest.max())} steps away, walks of {self.longest} steps at most): "
            ".reset(), .step(token)"
        )


def _graph(nodes: int, chance: float, longest: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges [N, N] and distances to node 0 [N]; drawn until every distance is less than `longest`."""
    for attempt in range(ATTEMPTS):
        stream = numpy_stream(seed, attempt, "graph")
        edges = stream.random((nodes, nodes)) < chance
        np.fill_diagonal(edges, False)
        for node in np.flatnonzero(~edges.any(1)).tolist():
            edges[node, (node + 1 + int(stream.integers(nodes - 1))) % nodes] = True
        distance = _distances(edges)
        if distance.max() < longest:
            return edges, distance
    raise ValueError(
        f"no graph of {nodes} nodes with edge_probability={chance} has every node fewer than {longest} steps from the "
        f"goal, in {ATTEMPTS} draws; raise edge_probability or longest."
    )


def _distances(edges: np.ndarray) -> np.ndarray:
    """int64 [N], the fewest steps from each node to node 0, by going back from it."""
    distance = np.full(len(edges), UNREACHABLE, dtype=np.int64)
    distance[0], steps = 0, 0
    while (distance == steps).any():
        reached = edges[:, distance == steps].any(1) & (distance == UNREACHABLE)
        steps += 1
        distance[reached] = steps
    return distance
