"""Whole runs on disk, one folder per generation, so that a run goes on as if it had never stopped.

`RunFolder` knows the layout; a generation is complete or not there. What is the user's own (a
callable environment, an algorithm, a network) is passed in on load, never imported by a name
in a file.
"""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from evolab.core import checks, spaces
from evolab.core.plain_values import plain
from evolab.core.version import VERSION
from evolab.data.buffers.saving import Written, read_buffer, write_buffer
from evolab.history.events import Generation
from evolab.history.history import History
from evolab.history.writer import HistoryWriter, Mark
from evolab.population import serialisation
from evolab.population.agent import Agent
from evolab.population.population import Population
from evolab.population.table import Table
from evolab.storage import lock
from evolab.storage.files import Damaged, disk_is_full, replace_bytes
from evolab.storage.folders import FORMAT, Saved, drafting
from evolab.training.file_schema import check_state
from evolab.training.generation_folders import ABOUT, GenerationFolders
from evolab.training.snapshot import Boundary
from evolab.training.state import TrainingState


class RunFolder(GenerationFolders):
    """A run's folder, and what this process knows of its content.

    Args:
        path: where it is.

    Attributes:
        newest: the generation that was written or read last; None before that.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.newest: int | None = None
        self._history = HistoryWriter(path / "history")
        self._buffer = Written()
        self._elite: tuple[int, float, float] | None = None

    # Writing ----------------------------------------------------------------------------------

    def write(self, at: Boundary, about: Mapping[str, object], keep: int) -> None:
        """Write a run between two generations, and clear away what is not kept.

        Args:
            at: the run.
            about: what else to remember: "run" (its id), "name", "config" and "own".
            keep: newest generations to keep; the best one is kept as well.

        Raises:
            RuntimeError: another process writes here.
            OSError: the disk is full, the folder is read-only; what was there is still whole.
        """
        lock.acquire(self.path)
        self.sweep()
        if self.newest is not None and not self.generation(self.newest).is_dir():
            # Somebody has removed it: nothing of it can be shared, or appended to.
            self._history, self._buffer, self._elite = HistoryWriter(self.path / "history"), Written(), None
        try:
            written = self._write(at, about)
        except OSError as error:
            if not disk_is_full(error) or not self._make_room(at):
                raise
            written = self._write(at, about)
        self._buffer, self.newest = written, at.generation
        self._tell(at, about)
        if at.elite is not None:
            known = (at.elite.id, at.elite_fitness, float(at.state["elite_proposed"]))
            if self._elite != known:
                at.elite.save(self.path / "elite")
                self._elite = known
        numbers = [number for number in self.numbers() if number <= at.generation]
        self.clear(at.generation, {*numbers[: max(1, keep)], _best(at.history)})

    def _write(self, at: Boundary, about: Mapping[str, object]) -> Written:
        """One generation's folder; what of the experience is on the disk then."""
        mark = self._history.append(at.history.generations)
        folder = self.generation(at.generation)
        kept = {**about, "versions": versions(), **at.state, "history": mark}
        with drafting(folder, "generation", owned=True) as draft:
            draft.tensors("population.safetensors", at.tensors)
            kept["buffer"], written = write_buffer(draft, folder, at.buffer, self._buffer)
            if at.fitness is not None:
                kept["fitness"], tensors = at.fitness
                draft.tensors("fitness.safetensors", tensors)
            draft.json("state.json", plain(kept))
        return written

    def _make_room(self, at: Boundary) -> bool:
        """On a full disk: clear older generations than the newest, but for the best, where that is enough."""
        older = [number for number in self.numbers() if number < at.generation][1:]
        best = _best(History(at.history.generations[: at.generation - 1]))
        doomed = [number for number in older if number != best]
        room = shutil.disk_usage(self.path).free + sum(
            file.stat().st_size
            for number in doomed
            for file in self.generation(number).glob("*")
            if file.is_file() and file.stat().st_nlink == 1  # what a newer one shares stays
        )
        if not doomed or room < at.needed:
            return False
        self.clear(at.generation, {number for number in self.numbers() if number not in doomed})
        checks.notice(
            f"the disk is full: generations {', '.join(map(str, sorted(doomed)))} in {self.path} were cleared to make "
            f"room for generation {at.generation}."
        )
        return True

    def _tell(self, at: Boundary, about: Mapping[str, Any]) -> None:
        """The few facts that a listing of runs shows."""
        history, config = at.history.generations, about["config"]
        facts = {
            "format": FORMAT,
            "run": about["run"],
            "environment": about["name"],
            "algorithm": at.algorithm,
            "population": len(at.state["agents"]),
            "seed": config["seed"],
            **{name: at.state[name] for name in ("generation", "total_steps", "evaluation_steps")},
            "best_fitness": max((g.fitness for g in history if np.isfinite(g.fitness)), default=None),
            "elite_fitness": at.elite_fitness if np.isfinite(at.elite_fitness) else None,
            "seconds": sum(sum(g.seconds.values()) for g in history),
            "saved": time.time(),
            "versions": versions(),
            "config": config,
        }
        text = json.dumps(plain(facts), allow_nan=False, ensure_ascii=False, indent=1) + "\n"
        replace_bytes(self.path / ABOUT, text.encode())

    # Reading ----------------------------------------------------------------------------------

    def open(self, number: int | None = None) -> tuple[Saved, dict[str, Any], list[str]]:
        """The newest generation that is whole, or the one asked for.

        Returns:
            its folder, what `state.json` says and what is wrong with newer ones.

        Raises:
            FileNotFoundError: there is no run, or not that generation.
            Damaged: no generation is whole; names every damaged file.
            ValueError: it was written by a newer evolab.
        """
        numbers = self.numbers()
        if not numbers:
            advice = " It holds an agent: use Agent.load." if (self.path / "agent.json").exists() else ""
            raise FileNotFoundError(f"there is no saved run at {self.path}.{advice}")
        if number is not None and number not in numbers:
            there = ", ".join(map(str, reversed(numbers)))
            raise FileNotFoundError(f"{self.path} holds no generation {number}; there are {there}.")
        problems: list[str] = []
        for candidate in numbers if number is None else [number]:
            try:
                saved = Saved(self.generation(candidate), "generation")
                saved.check()
                kept = _state(saved, candidate)
                self._generations = self._read_history(
                    kept["history"], f"{saved.path / 'state.json'}: history"
                )
                return saved, kept, problems
            except (Damaged, FileNotFoundError) as error:
                problems.append(str(error))
        others = [n for n in numbers if number is not None and n != number]
        offer = f" Other generations are {others}: pass generation={others[0]}." if others else ""
        raise Damaged(f"{self.path} cannot be loaded: " + " ".join(problems) + offer)

    def _read_history(self, mark: Mapping[str, Mark], where: str) -> list[Generation]:
        with serialisation.naming(where):
            try:
                return self._history.read(mark)
            except Damaged as error:
                raise Damaged(f"{error} {where} describes another one.") from None

    @property
    def began_with(self) -> int | None:
        """Agents of the first generation of what was opened; None where no generation had ended."""
        return len(self._generations[0].evaluations) if self._generations else None

    def restore(self, state: TrainingState, saved: Saved, kept: Mapping[str, Any], device: str) -> None:
        """Put what `open` gave into a run that was built from the same configuration.

        Raises:
            Damaged: the state does not fit its tensors.
            ValueError: the environment has other spaces than the saved agents.
        """
        where = str(saved.path / "state.json")
        tensors = saved.tensors("population.safetensors")
        with serialisation.naming(where):
            population, about = state.population, kept["population"]
            _same_spaces(population, about)
            individuals = [
                serialisation.individual_of(
                    population.table.spec, values, f"{row}/", tensors, f"{where}: agents[{row}]"
                )
                for row, values in enumerate(kept["agents"])
            ]
            if f"{len(individuals)}/" in {name[: name.find("/") + 1] for name in tensors}:
                raise Damaged(f"{where}: agents are {len(individuals)}; the tensors are those of more.")
            population.rebuild(individuals, int(kept["next_id"]))
            spec = serialisation.spec_of(
                about, population.algorithm, population.network, device, "population."
            )

            def agent(name: str) -> Agent | None:
                if kept[name] is None:
                    return None
                one = serialisation.individual_of(spec, kept[name], f"{name}/", tensors, f"{where}: {name}")
                return Agent(Table(spec, [one]), one.id)

            best, elite = agent("best"), agent("elite")
            state.place_buffer()
            with serialisation.naming(f"{where}: buffer"):
                self._buffer = read_buffer(saved, kept["buffer"], state.buffer)
            if "fitness" in kept:
                with serialisation.naming(f"{where}: fitness"):
                    for fitness in (state.fitness, state.beside):
                        if fitness is not None:
                            fitness.put_state(kept["fitness"], saved.tensors("fitness.safetensors"))
            state.put_state(kept, History(self._generations), best, elite)
        self.newest = state.generation


def _state(saved: Saved, number: int) -> dict[str, Any]:
    """What `state.json` of a generation says, once it has the form that is declared."""
    kept = saved.json("state.json")
    try:
        return dict(check_state(kept, number))
    except ValueError as error:
        raise Damaged(f"{saved.path / 'state.json'}: {error}") from None


def _same_spaces(population: Population, about: Mapping[str, object]) -> None:
    lived = {"observation_space": population.observation_space, "action_space": population.action_space}
    for name, given in lived.items():
        saved = spaces.from_json(about[name], f"population.{name}")
        if given != saved:
            raise ValueError(f"the saved agents live in {name} {saved}; this environment's is {given}.")


def _best(history: History) -> int | None:
    """The generation of the best confirmed agent, or of the highest fitness where none was confirmed."""
    if not history.generations:
        return None
    confirmed = [g for g in history.generations if g.confirmed is not None]
    if confirmed:
        return max(confirmed, key=lambda g: g.confirmed or float("-inf")).number
    finite = [g for g in history.generations if np.isfinite(g.fitness)]
    return max(finite, key=lambda g: g.fitness).number if finite else None


def versions() -> dict[str, str]:
    """What the run was computed with: exact resume is promised for the same versions."""
    return {
        "evolab": VERSION,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "gymnasium": gymnasium.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
    }
