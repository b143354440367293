"""Golden records: small seeded runs whose every number was written down, so that rebuilding moves none of them.

The runs go through the public API and the files on disk alone. What they found is in `tests/golden/`,
one file per algorithm:

- facts (ids, parents, births, shapes, whole numbers) are compared exactly, on every machine;
- figures (fitness, losses, hyperparameters, the norm and mean of every tensor) to a thousandth;
- a digest of the whole history and of every tensor's bytes exactly, on machines like the one that wrote it.

Where a change of the numbers is meant, write the records anew, read what `git diff` says of them, and give the
reason in the commit: `python tests/test_golden.py --write`, or with names for some, `--write DQN SAC`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import evolab as ev

RECORDS = Path(__file__).parent / "golden"
GENERATIONS = 3
CLOSE = 1e-3
"""Relative; machines and kernels round differently, and learning makes a little more of it."""

KINDS = {"none": 0, "architecture": 1, "parameters": 1, "activation": 1, "hyperparameters": 1}
SMALL = {
    "population": 4, "num_envs": 2, "network": [16], "steps_per_generation": 40, "eval_episodes": 2,
    "eval_steps": 25, "draw": True, "device": "cpu", "hyperparameters": {"batch_size": 8},
    "mutations": ev.Mutations(**KINDS, new_layer=0.5), "fitness": "return", "revive": False, "update_ratio": 0.25,
}  # fmt: skip


RATES = {name: ev.Float(1e-5, 1e-2, grow=2.0) for name in ("lr_actor", "lr_critic")}
SPACES = {
    "DQN": {"lr": ev.Float(1e-5, 1e-2, grow=2.0)},
    "TD3": {**RATES, "exploration_noise": ev.Float(0.05, 1.0)},
    "SAC": {**RATES},
    "CQN": {"lr": ev.Float(1e-5, 1e-2, grow=2.0), "cql_alpha": ev.Float(0.1, 10.0)},
}
"""Where hyperparameters evolved when the records were written; the algorithms' own ranges may change."""


def acting(environment, algorithm, seed, **options):
    """An experiment that learns from what its agents do."""
    buffer = ev.RolloutBuffer(8) if algorithm == "PPO" else ev.ReplayBuffer(300)
    told = {**SMALL, "search_space": SPACES.get(algorithm), **options}
    if algorithm == "DQN":
        told["hyperparameters"] = {"epsilon_steps": 10_000, **told["hyperparameters"]}
    if algorithm == "SAC":
        told["hyperparameters"] = {"policy_delay": 1, **told["hyperparameters"]}
    if algorithm == "PPO":
        del told["update_ratio"]
    exp = ev.Experiment(environment, algorithm, seed=seed, buffer=buffer, **told)
    if algorithm != "PPO":
        exp.fill(100)
    return exp


def from_arrays(seed):
    """CQN judged by fitted Q evaluation: no environment anywhere, as little data as make sense."""
    stream = np.random.default_rng(0)
    rows = 400
    position = stream.normal(size=(rows, 3)).astype("f")
    action = stream.integers(0, 3, rows)
    ends = (np.arange(rows) + 1) % 20 == 0
    data = {
        "observations": position,
        "actions": action,
        "rewards": (position[:, 0] * (action - 1)).astype("f"),
        "terminals": ends & (np.arange(rows) % 40 == 39),
        "timeouts": ends & (np.arange(rows) % 40 == 19),
    }
    fitness = ev.FQE(discount=0.9, members=2, hidden=[8], batch_size=32, first=30, imagined=0)
    exp = ev.Experiment(None, "CQN", seed=seed, search_space=SPACES["CQN"], **{**SMALL, "fitness": fitness})
    exp.fill(data)
    return exp


def from_games(seed):
    """BC of recorded word games."""
    # In double precision: nothing pulls at the bias of an attention's keys but rounding, which Adam makes large.
    game = ev.envs.WordGame(["abc", "cab", "bca", "bac"], letters=3, tries=3, alphabet="abc")
    network = ev.GPT(layers=1, width=8, heads=1, min_units=8)
    options = {**SMALL, "network": network, "steps_per_generation": 10, "eval_episodes": None}
    options["dtype"] = torch.float64
    exp = ev.Experiment(game, "BC", seed=seed, **options)
    exp.fill(game.record("mixture", 40, seed=0))
    return exp


RUNS = {
    "DQN": lambda: acting("CartPole-v1", "DQN", 2),
    "TD3": lambda: acting("Pendulum-v1", "TD3", 11),
    "SAC": lambda: acting("Pendulum-v1", "SAC", 2),
    "PPO": lambda: acting("CartPole-v1", "PPO", 2),
    "CQN": lambda: from_arrays(4),
    "BC": lambda: from_games(12),
}
"""Seeds with which every kind of mutation happens, and the archived elite is not always the first agent."""


# What a run is ------------------------------------------------------------------------------------

FITNESS = ("generation", "agent", "parent", "fitness", "episodes", "length", "steps", "total_steps", "updates",
           "parameters", "is_elite")  # fmt: skip
BIRTHS = ("generation", "agent", "parent", "kind", "detail", "change")


def observed(exp, folder):
    """Facts, figures and tensors of a finished run, and a digest of all that is exact."""
    history = exp.history
    cells = {
        f"{table} {name} of {row['agent']} in {row['generation']}": value
        for table, frame in (
            ("fitness", history.fitness.rename(columns={"network_size": "parameters"})[list(FITNESS)]),
            ("birth", history.mutations[list(BIRTHS)]),
            ("setting", history.hyperparameters),
        )
        for row in frame.to_dict("records")
        for name, value in row.items()
        if name not in ("generation", "agent")
    }
    for one in history:
        about = {
            "total_steps": one.total_steps, "evaluation_steps": one.evaluation_steps, "best": one.best.agent,
            "confirmed": one.confirmed, "faults": len(one.faults),
        }  # fmt: skip
        about |= {f"loss {name}": value for name, value in one.losses.items()}
        cells |= {f"generation {one.number}: {name}": value for name, value in about.items()}
    cells |= {"elite": exp.elite.id, "elite's fitness": exp.elite.fitness, "generation": exp.generation}
    cells |= {"best": exp.best.id, "total_steps": exp.total_steps}
    cells = {name: plain(cells[name]) for name in sorted(cells)}
    tensors = saved_tensors(exp, folder)
    digest = hashlib.sha256(json.dumps(cells).encode())
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].numpy().tobytes())
    return {
        "facts": {name: value for name, value in cells.items() if not isinstance(value, float)},
        "figures": {name: value for name, value in cells.items() if isinstance(value, float)},
        "tensors": {name: measured(tensors[name]) for name in sorted(tensors)},
        "digest": digest.hexdigest(),
    }


def plain(value):
    """A value of a table as JSON has it: missing numbers as None, whole numbers whole."""
    if value is None or (not isinstance(value, str) and value != value) or type(value).__name__ == "NAType":
        return None
    return value.item() if isinstance(value, np.generic) else value


def saved_tensors(exp, folder):
    """Every tensor of the population and its elite by agent and name, as a checkpoint has them."""
    exp.save(folder)
    newest = max(Path(folder).glob("generation-*"))
    state = json.loads((newest / "state.json").read_text(encoding="utf-8"))
    owners = {str(row): f"agent {agent['id']}" for row, agent in enumerate(state["agents"])}
    owners["elite"] = "elite"
    found = {}
    for name, value in load_file(newest / "population.safetensors").items():
        owner, rest = name.split("/", 1)
        if owner in owners:
            found[f"{owners[owner]}: {rest}"] = value
    return found


def measured(tensor):
    """Elements, norm and mean of a tensor."""
    exact = tensor.double()
    return [tensor.numel(), float(f"{exact.norm():.6g}"), float(f"{exact.mean():.6g}")]


def machine():
    """What decides in which order a sum is taken: bits are promised for equal machines only."""
    cores = Path("/proc/cpuinfo")
    text = cores.read_text(encoding="utf-8") if cores.exists() else ""
    flags = {word for line in text.splitlines() if line.startswith("flags") for word in line.split()}
    vendor = next((line.split(":")[1].strip() for line in text.splitlines() if "vendor_id" in line), "")
    compiler = shutil.which(os.environ.get("CC") or "cc")
    named = ""
    if compiler and os.environ.get("EVOLAB_NATIVE", "1") != "0":
        said = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
        named = said.splitlines()[0] if said else ""
    return {
        "processor": " ".join([vendor, *sorted(flags & {"fma", "avx2", "avx512f", "avx512_fp16"})]),
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "numpy": np.__version__,
        "kernels": named or "none",
    }


@functools.cache
def run(name):
    """One of the runs, done once for all of its tests."""
    exp = RUNS[name]()
    try:
        exp.run(generations=GENERATIONS)
        with tempfile.TemporaryDirectory() as folder:
            return observed(exp, Path(folder) / "run")
    finally:
        exp.close()


def record(name):
    """What was written down of it."""
    return json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))


# The tests ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RUNS)
def test_ids_births_shapes_and_whole_numbers_are_as_recorded(name):
    assert run(name)["facts"] == record(name)["facts"]


@pytest.mark.parametrize("name", RUNS)
def test_fitness_losses_and_hyperparameters_are_as_recorded(name):
    figures = run(name)["figures"]
    assert figures == pytest.approx(record(name)["figures"], rel=CLOSE, abs=1e-6)


@pytest.mark.parametrize("name", RUNS)
def test_every_tensor_has_the_recorded_norm_and_mean(name):
    tensors, expected = run(name)["tensors"], record(name)["tensors"]
    assert tensors.keys() == expected.keys()
    moved = {}
    for label, (count, norm, mean) in expected.items():
        # A mean may cancel to nothing, so it is held against the size of an element.
        element = norm / count**0.5
        now = tensors[label]
        if now[0] != count or abs(now[1] - norm) > CLOSE * norm or abs(now[2] - mean) > CLOSE * element:
            moved[label] = (now, [count, norm, mean])
    assert not moved


@pytest.mark.parametrize("name", RUNS)
def test_a_machine_like_the_recorded_one_computes_the_same_bits(name):
    written = record(name)
    if written["machine"] != machine():
        pytest.skip(f"bits are recorded for {written['machine']}")
    assert run(name)["digest"] == written["digest"]


@pytest.mark.parametrize("name", RUNS)
def test_every_kind_of_mutation_is_in_the_record(name):
    kinds = {value for label, value in record(name)["facts"].items() if label.startswith("birth kind")}
    # A transformer's activation is not a gene: there the draw of one changes nothing.
    assert kinds == {*KINDS, "elite"} - {"activation" if name == "BC" else "none"}


def write(names):
    """Write the records of some runs anew."""
    for name in names or RUNS:
        text = json.dumps({"machine": machine(), **run(name)}, ensure_ascii=False)
        # One value a line, so that a difference reads as one.
        text = text.replace('": {"', '": {\n"').replace(', "', ',\n"').replace("}", "\n}")
        (RECORDS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        json.loads(text)
        print(f"{name}: {len(run(name)['facts'])} facts, {len(run(name)['tensors'])} tensors")


if __name__ == "__main__":
    if sys.argv[1:2] != ["--write"]:
        sys.exit(__doc__)
    write(sys.argv[2:])
