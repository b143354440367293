"""The model card of a saved agent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from evolab.population.spec import Spec

EXAMPLE = """\
import gymnasium
import imageio
import evolab as ev

agent = ev.Agent.load("path/to/this/folder")
env = gymnasium.make("the environment's id", render_mode="rgb_array")
returns, frames = [], []
for episode in range(3):
    observation, _ = env.reset(seed=episode)
    total, over = 0.0, False
    while not over:
        frames.append(env.render())
        observation, reward, terminated, truncated, _ = env.step(agent.act(observation))
        total, over = total + reward, terminated or truncated
    returns.append(total)
env.close()
imageio.mimsave("episodes.gif", frames, duration=33)  # milliseconds a picture
print(returns)
"""
"""How a model card says that the agent is used."""


REMEMBERS = (
    ("    total, over = 0.0, False\n", "    total, over, memory = 0.0, False, agent.memory()\n"),
    ("agent.act(observation)", "agent.act(observation, memory=memory)"),
)
"""What is said otherwise of an agent that remembers."""


def card(known: Mapping[str, Any], spec: Spec) -> str:
    """A model card in the form that model hubs read.

    Args:
        known: what `Agent.describe` says.
        spec: of its table.
    """
    fitness, example = known["fitness"], EXAMPLE
    for usual, other in REMEMBERS if spec.network.remembers else ():
        example = example.replace(usual, other)
    result = [] if math.isnan(fitness) else [f"\nMean return when it was saved: **{fitness:.2f}**."]
    rows = [f"| {_cell(name)} | {_cell(value)} |" for name, value in known.items()]
    return "\n".join(
        [
            "---",
            "library_name: evolab",
            "pipeline_tag: reinforcement-learning",
            "tags:",
            "- reinforcement-learning",
            "- evolab",
            f"- {''.join(c for c in str(known['algorithm']) if c.isalnum() or c in '-_')}",
            "---",
            "",
            f"# {_cell(known['algorithm'])} agent {known['agent']}",
            *result,
            "",
            "```python",
            *example.splitlines(),
            "```",
            "",
            "| | |",
            "|---|---|",
            *rows,
            f"| observation space | {_cell(spec.observation_space)} |",
            f"| action space | {_cell(spec.action_space)} |",
            *([f"| normalised inside the agent | {', '.join(spec.normalise)} |"] if spec.normalise else []),
            "",
            "The folder holds safetensors and JSON; loading it executes nothing.",
            "",
        ]
    )


def _cell(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    text = text if len(text) <= 200 else text[:197] + "..."
    for special, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("\n", " ")):
        text = text.replace(special, escaped)
    return text
