"""What one library's checkpoints survive: run by `checkpoints.py`, each library in its own environment.

    python tests/benchmarks/checkpoint_battery.py evolab|sb3|agilerl RESULT.json [--quick] [--only WORD]

`--only kill` does the parts whose name holds the word again and leaves the others as they were.

Every library trains nothing here: it saves a DQN agent for CartPole whose parameters all equal a
mark k, so that what comes back tells exactly which checkpoint it is, or that it is a mixture.
Everything that may hang, crash or be killed happens in a forked process.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import pickle
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROWS, KILLS, FRACTIONS, PERCENTS, FLIPS = 2_000, 50, 20, 100, 100
MEMORY, PATIENCE = 16 * 2**30, 60.0


class Canary:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: str) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return (os.mkdir, (self.trace,))


class StableBaselines:
    """`model.save` and `model.save_replay_buffer`, as its `CheckpointCallback` calls them."""

    name = "Stable-Baselines3"

    def __init__(self) -> None:
        import stable_baselines3

        self.kind, self.version = stable_baselines3.DQN, stable_baselines3.__version__
        options = {"buffer_size": ROWS, "policy_kwargs": {"net_arch": [64, 64]}, "device": "cpu", "seed": 1}
        self.model = self.kind("MlpPolicy", "CartPole-v1", **options)
        self.model.learn(ROWS // 2)

    def mark(self, k: int) -> None:
        for parameter in self.model.policy.parameters():
            parameter.data.fill_(k)
        self.model.num_timesteps = k
        self.model.replay_buffer.rewards[:] = k

    def save(self, folder: Path, name: str) -> None:
        self.model.save(folder / f"{name}.zip")
        self.model.save_replay_buffer(folder / f"{name}_replay_buffer.pkl")

    def load(self, folder: Path, name: str) -> tuple[set[float], str]:
        model = self.kind.load(folder / f"{name}.zip", device="cpu")
        model.load_replay_buffer(folder / f"{name}_replay_buffer.pkl")
        marks = {float(v) for p in model.policy.parameters() for v in p.detach().unique()}
        marks |= {float(model.num_timesteps)} | set(map(float, model.replay_buffer.rewards.ravel()))
        buffer = [v for _, v in sorted(vars(model.replay_buffer).items()) if isinstance(v, np.ndarray)]
        return marks, digest([*moments(model.policy.optimizer), *buffer])

    def plant(self, folder: Path, name: str, canary: Canary) -> list[Callable[[], None]]:
        path, buffer = folder / f"{name}.zip", folder / f"{name}_replay_buffer.pkl"

        def entry(inner: str, change: Callable[[bytes], bytes]) -> None:
            with zipfile.ZipFile(path) as archive:
                content = {one: archive.read(one) for one in archive.namelist()}
            content[inner] = change(content[inner])
            with zipfile.ZipFile(path, "w") as archive:
                for one, data in content.items():
                    archive.writestr(one, data)

        def option(data: bytes) -> bytes:
            about = json.loads(data)
            code = base64.b64encode(pickle.dumps(canary)).decode()
            return json.dumps(about | {"gamma": {":type:": "float", ":serialized:": code}}).encode()

        return [
            lambda: buffer.write_bytes(pickle.dumps(canary)),
            lambda: entry("data", option),
            lambda: entry("policy.pth", lambda _: torch_bytes(canary)),
        ]


class AgileRL:
    """`agent.save_checkpoint`, which its training loops call for every agent of the population."""

    name = "AgileRL"

    def __init__(self) -> None:
        import agilerl
        import gymnasium
        from agilerl.algorithms import DQN

        env = gymnasium.make("CartPole-v1")
        config = {"encoder_config": {"hidden_size": [64]}, "head_config": {"hidden_size": [64]}}
        self.kind, self.version = DQN, version_of("agilerl", agilerl)
        self.agent = DQN(env.observation_space, env.action_space, net_config=config)

    def mark(self, k: int) -> None:
        for network in (self.agent.actor, self.agent.actor_target):
            for parameter in network.parameters():
                parameter.data.fill_(k)

    def save(self, folder: Path, name: str) -> None:
        self.agent.save_checkpoint(str(folder / f"{name}.pt"))

    def load(self, folder: Path, name: str) -> tuple[set[float], str]:
        agent = self.kind.load(str(folder / f"{name}.pt"))
        networks = (agent.actor, agent.actor_target)
        marks = {float(v) for n in networks for p in n.parameters() for v in p.detach().unique()}
        return marks, digest(moments(agent.optimizer))

    def plant(self, folder: Path, name: str, canary: Canary) -> list[Callable[[], None]]:
        path = folder / f"{name}.pt"
        return [
            lambda: path.write_bytes(pickle.dumps(canary)),
            lambda: path.write_bytes(torch_bytes({"network_info": canary})),
        ]


class Evolab:
    """`exp.save`; a name stands for a generation."""

    name = "evolab"

    def __init__(self) -> None:
        import evolab as ev

        self.kind, self.version = ev.Experiment, ev.__version__
        self.experiment = ev.Experiment(
            "CartPole-v1", "DQN", population=4, network=[64, 64], seed=1, device="cpu",
            steps_per_generation=40, eval_steps=20, buffer=ev.ReplayBuffer(ROWS), keep=3,
        )  # fmt: skip
        self.experiment.fill(ROWS // 2)
        self.experiment.step()

    def mark(self, k: int) -> None:
        run = self.experiment._state
        for value in run.population.table.values():
            if value.dim() == 3:
                value.fill_(k)
        run.total_steps = k
        run.buffer.fields["reward"].fill_(k)

    def save(self, folder: Path, name: str) -> None:
        if name != "one":
            self.experiment._state.generation = int(name)
        self.experiment.save(folder / "run")

    def load(self, folder: Path, name: str) -> tuple[set[float], str]:
        loaded = self.kind.load(folder / "run")
        population = loaded.population
        members = [population.individual(row) for row in range(len(population))]
        marks = {
            float(v) for m in members for s in m.tensors.values() for t in s.values() for v in t.unique()
        }
        rewards = loaded.buffer.fields["reward"][: len(loaded.buffer)]
        marks |= {float(loaded.total_steps)} | set(map(float, rewards.unique()))
        return marks, digest([*population.table.values(), *loaded.buffer.fields.values()])

    def plant(self, folder: Path, name: str, canary: Canary) -> list[Callable[[], None]]:
        place = sorted((folder / "run").glob("generation-*"))[-1]
        manifest = place / "manifest.json"

        def signed(path: Path, data: bytes) -> None:
            """With checksums that are right, as an attacker would write them."""
            path.write_bytes(data)
            content = json.loads(manifest.read_text())
            digest = hashlib.sha256(data).hexdigest()
            content["files"][path.name] = {"bytes": len(data), "sha256": digest}
            content.pop("sha256")
            own = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
            manifest.write_text(json.dumps(content | {"sha256": own}))

        files = [path for path in place.iterdir() if path.name not in ("manifest.json", "README.md")]
        forms = (pickle.dumps(canary), torch_bytes(canary))
        planted = [lambda p=path, d=data: signed(p, d) for path in files for data in forms]
        return [*planted, *(lambda d=data: manifest.write_bytes(d) for data in forms)]


LIBRARIES = {"evolab": Evolab, "sb3": StableBaselines, "agilerl": AgileRL}


def version_of(package: str, module: Any) -> str:
    """The version that is installed."""
    from importlib.metadata import version

    return str(getattr(module, "__version__", None) or version(package))


def moments(optimizer: Any) -> list[Any]:
    """What an optimizer remembers, in order."""
    state = optimizer.state_dict()["state"]
    return [value for key in sorted(state) for _, value in sorted(state[key].items())]


def digest(values: list[Any]) -> str:
    """SHA-256 of arrays and tensors."""
    sha = hashlib.sha256()
    for value in values:
        sha.update(np.ascontiguousarray(torch.as_tensor(value).detach().numpy()).tobytes())
    return sha.hexdigest()


def torch_bytes(value: Any) -> bytes:
    """As `torch.save` writes it."""
    data = io.BytesIO()
    torch.save(value, data)
    return data.getvalue()


def apart(work: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """What a forked process makes of it: its result, "died" or "hung"."""
    far, near = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(far)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        with (
            open(os.devnull, "w") as silence,
            contextlib.redirect_stdout(silence),
            contextlib.redirect_stderr(silence),
        ):
            try:
                result = work()
                os.write(near, json.dumps(result).encode())
            finally:
                os._exit(0)
    os.close(near)
    deadline = time.monotonic() + patience
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(far)
            return "hung"
        time.sleep(0.002)
    data = os.read(far, 2**16)
    os.close(far)
    return json.loads(data) if data else "died"


def look(library: Any, folder: Path, name: str, good: set[float], damaged: str = "", right: str = "") -> str:
    """Load; tell what came.

    Args:
        library: whose.
        folder: where the checkpoint is.
        name: of it.
        good: marks that are right.
        damaged: the file that must be named.
        right: digest of the rest of an undamaged checkpoint; "" where it is not looked at.
    """

    def work() -> str:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                marks, found = library.load(folder, name)
            except BaseException as error:
                return (
                    "refused, file named" if damaged and damaged in str(error) else "refused, file not named"
                )
        if len(marks) == 1 and marks <= good and right in ("", found):
            return "whole"
        if len(marks) == 1 and damaged and any(damaged in str(one.message) for one in caught):
            return "older one used, file named"
        return "wrong, unnoticed"

    return str(apart(work))


def fresh(library: Any, folder: Path, name: str, mark: int) -> None:
    """A checkpoint with this mark, beside what is there."""

    def work() -> str:
        library.mark(mark)
        library.save(folder, name)
        return "saved"

    assert apart(work) == "saved"


def damage(library: Any, folder: Path, kind: str, amount: int) -> Counter[str]:
    """Every file of the newest checkpoint cut to each percent, or with one bit flipped."""
    stream, found = random.Random(0), Counter[str]()
    fresh(library, folder, "1", 1)
    older = {path for path in folder.rglob("*") if path.is_file()}
    fresh(library, folder, "2", 2)
    right = apart(lambda: library.load(folder, "2")[1])
    for path in sorted(
        p for p in folder.rglob("*") if p.is_file() and p not in older and "elite" not in p.parts
    ):
        if path.name in ("README.md", ".lock"):
            continue
        whole = path.read_bytes()
        for step in range(amount):
            if kind == "truncate":
                data = whole[: len(whole) * step // amount]
            else:
                place = stream.randrange(len(whole))
                data = whole[:place] + bytes([whole[place] ^ 1 << stream.randrange(8)]) + whole[place + 1 :]
            path.write_bytes(data)
            found[look(library, folder, "2", {2.0}, path.name, right)] += 1
        path.write_bytes(whole)
    assert look(library, folder, "2", {2.0}) == "whole"
    return found


def kills(library: Any, folder: Path, amount: int, numbered: bool) -> Counter[str]:
    """SIGKILL at random moments while checkpoints are written one after the other."""
    stream, found = random.Random(1), Counter[str]()
    started = time.perf_counter()
    for k in range(1, 4):
        fresh(library, folder, str(k) if numbered else "one", k)
    rhythm = (time.perf_counter() - started) / 3
    last = 3
    for _ in range(amount):
        far, near = os.pipe()
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                for k in range(last + 1, last + 1000):
                    library.mark(k)
                    library.save(folder, str(k) if numbered else "one")
                    os.write(near, f"{k} ".encode())
            os._exit(0)
        os.close(near)
        time.sleep(stream.uniform(0, 4 * rhythm))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        done = max(map(int, os.read(far, 2**16).split()), default=last)
        os.close(far)
        begun = numbered and any(folder.glob(f"{done + 1}[._]*"))
        newest = str(done + begun) if numbered else "one"
        outcome = look(library, folder, newest, {float(done), float(done + 1)})
        if outcome == "whole":
            last = done + (look(library, folder, newest, {float(done + 1)}) == "whole")
        else:
            older = numbered and look(library, folder, str(done), {float(done)}) == "whole"
            if outcome.startswith("refused"):
                outcome = "only an older file loads" if older else "nothing loads"
            last = done
            if not numbered:
                fresh(library, folder, "one", done)
        found[outcome] += 1
    return found


def full(library: Any, folder: Path, amount: int) -> Counter[str]:
    """No room for the whole of a file: writing stops with an error after each of some sizes."""
    found = Counter[str]()
    fresh(library, folder, "one", 1)
    largest = max(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    for step in range(1, amount + 1):
        limit = largest * step // (amount + 1)

        def work(limit: int = limit) -> str:
            library.mark(2)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            try:
                library.save(folder, "one")
            except OSError:
                return "told"
            except BaseException:
                return "told otherwise"
            return "silent"

        said = apart(work)
        outcome = look(library, folder, "one", {1.0})
        found[f"{said}; " + ("the old one is whole" if outcome == "whole" else "the old one is lost")] += 1
        if outcome != "whole":
            fresh(library, folder, "one", 1)
    return found


def canaries(library: Any, folder: Path) -> Counter[str]:
    """Pickles planted in every file: is any of them executed when the checkpoint is loaded?"""
    found = Counter[str]()
    fresh(library, folder, "one", 1)
    trace = folder / "executed"
    for plant in library.plant(folder, "one", Canary(str(trace))):
        backup = folder.with_name(folder.name + "-whole")
        shutil.copytree(folder, backup)
        plant()
        look(library, folder, "one", {1.0})
        found["executed" if trace.exists() else "not executed"] += 1
        shutil.rmtree(folder)
        backup.rename(folder)
    return found


def main() -> None:
    """The whole battery of one library."""
    torch.set_num_threads(1)
    quick = 10 if "--quick" in sys.argv else 1
    library = LIBRARIES[sys.argv[1]]()
    place = Path(sys.argv[2])
    only = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv else ""
    result: dict[str, Any] = json.loads(place.read_text()) if only and place.exists() else {}
    result |= {"library": library.name, "version": library.version}
    tests: dict[str, Callable[[Path], Counter[str]]] = {
        "truncate": lambda folder: damage(library, folder, "truncate", PERCENTS // quick),
        "flip": lambda folder: damage(library, folder, "flip", FLIPS // quick),
        "kill, one name": lambda folder: kills(library, folder, KILLS // quick, False),
        "kill, a name each": lambda folder: kills(library, folder, KILLS // quick, True),
        "disk full": lambda folder: full(library, folder, FRACTIONS // quick),
        "pickle canary": lambda folder: canaries(library, folder),
    }
    for name, test in tests.items():
        if only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            inside = Path(folder) / "place"
            inside.mkdir()
            result[name] = dict(sorted(test(inside).items()))
        print(library.name, name, result[name], file=sys.stderr, flush=True)
        place.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
