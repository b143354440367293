"""A deterministic run has the same record on processors of other kinds."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from evolab.core.processors import same_everywhere
from evolab.networks.kernels import build
from tests.small import quiet

ROOT = Path(__file__).parents[2]
AVX2 = {"EVOLAB_CPU": "x86-64-v3", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
RUN = """
import hashlib
import evolab as ev
exp = ev.Experiment(
    "Pendulum-v1", "{algorithm}", population=3, num_envs=2, network=[32], steps_per_generation=40, {pace}
    fitness="return",
    hyperparameters={{"batch_size": 16}}, seed=1, deterministic=True, progress=False, eval_steps=20, mutations={mutations},
)
exp.run(generations=2)
seen = hashlib.sha256(exp.history.fitness.to_csv().encode())
for name, value in exp.population.table.items():
    seen.update(name.encode() + value.numpy().tobytes())
print(seen.hexdigest())
"""
ACTIVATIONS = "ev.Mutations(none=0.0, architecture=0, parameters=0, activation=1, hyperparameters=0)"


def printed(script, **environment):
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**quiet(), **environment},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(build.library(torch.float32) is None, reason="there is no C compiler")
@pytest.mark.skipif(
    platform.machine() != "x86_64" or " avx512f " not in build._cpu(),
    reason="a processor with AVX-512 plays both",
)
@pytest.mark.parametrize("algorithm", ["TD3", "SAC", "PPO"])
def test_a_deterministic_run_is_the_same_on_lesser_processors(algorithm):
    pace = "" if algorithm == "PPO" else "update_ratio=0.5,"
    script = RUN.format(algorithm=algorithm, mutations=ACTIVATIONS, pace=pace)
    assert printed(script) == printed(script, **AVX2)


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="torch has no MKL here")
def test_it_cannot_be_asked_for_once_torch_has_computed():
    script = (
        "import torch, evolab as ev; torch.ones(9).sum(); ev.Experiment('CartPole-v1', deterministic=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=quiet(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "RuntimeError: deterministic is True, but torch has computed something before" in done.stderr
    assert (
        "Set MKL_CBWR=COMPATIBLE and ATEN_CPU_CAPABILITY=avx2 in the environment before Python begins"
        in done.stderr
    )


def test_only_yes_and_no_are_answers():
    assert same_everywhere(False) is False
    with pytest.raises(TypeError, match="deterministic is 1; True or False is expected"):
        same_everywhere(1)
