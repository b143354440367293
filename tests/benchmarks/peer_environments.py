"""Virtual environments of the peers: they are no dependencies of evolab, and each lives by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TORCH = "torch==2.13.0"
PEERS = {
    "sb3": ["stable-baselines3", "optuna", "gymnasium[classic-control,box2d,mujoco]"],
    "agilerl": ["agilerl==2.58.0", "peft", "gymnasium[classic-control,box2d,mujoco]"],
    "d3rlpy": ["d3rlpy==2.8.1"],
    "rliable": ["rliable", "pandas<3", "plotly"],  # its arch does not go with pandas 3
}
NO_TORCH = ("rliable",)


def python_of(peers: Path, name: str) -> Path:
    """The Python of a peer's environment `peers/name`, which is made where it is missing."""
    place = peers / name
    if not place.exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        pip = [str(place / "bin" / "pip"), "install", "--quiet"]
        if name not in NO_TORCH:
            subprocess.run([*pip, TORCH], check=True)  # before the others ask for a build of their own choice
        subprocess.run([*pip, *PEERS[name]], check=True)
    return place / "bin" / "python"
