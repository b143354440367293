"""What an experiment does beside training: checkpoints by itself, trackers, and a save when asked.

Nothing here ever stops training: what fails is said once, and training goes on.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
import uuid
import warnings
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolab.core import checks
from evolab.experiment.build import populate
from evolab.history.events import Finished, Generation, Progress
from evolab.reporting.trackers.tracker import RunFacts
from evolab.reporting.trackers.trackers import Trackers
from evolab.storage import lock
from evolab.storage.files import sync_folder
from evolab.training.checkpoint import RunFolder, own_parts

if TYPE_CHECKING:
    from os import PathLike

    from evolab.experiment.experiment import Experiment

_UNITS = {
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "m": 60.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
}


class Checkpointer:
    """Keeps an experiment: writes checkpoints when they are due, and feeds its trackers.

    Args:
        experiment: whom it keeps.
        folder: where checkpoints go; None for none but those asked for.
        every: generations between two checkpoints, or a time such as "10 min" or a timedelta.
        keep: newest checkpoints to keep, besides the best one.
        trackers: names or objects.

    Raises:
        FileExistsError: the folder holds another run.
        RuntimeError: another process writes there.
    """

    def __init__(
        self, experiment: Experiment, folder: Any = None, every: Any = 1, keep: int = 3, trackers: Any = ()
    ) -> None:
        self.experiment = experiment
        self.run_id = uuid.uuid4().hex
        self.generations, self.seconds = interval(every)
        self.every = every if isinstance(every, (int, str)) else f"{self.seconds:g} s"
        self.keep = checks.positive_integer("keep", keep)
        self.folder = None if folder is None else Path(folder).expanduser()
        self.problem: str | None = None
        self._folders: dict[Path, RunFolder] = {}
        self._saved_at, self._unsaved = time.monotonic(), 0
        self._wanted: list[tuple[Path, bool, threading.Event, list[BaseException]]] = []
        self.trackers = Trackers(trackers)
        if self.folder is not None:
            self._refuse_other_run(self.folder, "Continue it with Experiment.load, or choose another folder.")
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(self.folder)

    # During training --------------------------------------------------------------------------

    def ready(self) -> None:
        """Before training: make sure that the folder is ours."""
        if self.folder is not None and self.folder.exists():
            lock.acquire(self.folder)
        self.trackers.start(self._facts)

    def _facts(self) -> RunFacts:
        experiment = self.experiment
        return RunFacts(
            run_id=self.run_id,
            run_name=f"{experiment.algorithm.name}-{experiment.name}-{experiment._seed}",
            folder=self.folder,
            resumed=experiment.generation,
            config=experiment.config,
        )

    def after(self, event: Progress | Generation | Finished) -> None:
        """Between two events of training."""
        if isinstance(event, Generation):
            self._unsaved += 1
            self.trackers.log(event)
            due = self._unsaved >= self.generations and time.monotonic() - self._saved_at >= self.seconds
            if due:
                self._save_quietly()
            self._serve()
        elif isinstance(event, Finished) and self._unsaved:
            self._save_quietly()

    def failed(self) -> None:
        """Training broke off: keep what is not on the disk yet, and say where to go on from."""
        if self.folder is None:
            return
        if self._unsaved:
            self._save_quietly()
        known = self._folders.get(self.folder)
        if known is not None and known.newest is not None:
            checks.notice(
                f"training stopped in generation {self.experiment.generation + 1}; generation {known.newest} is "
                f"saved: Experiment.load({str(self.folder)!r}) goes on from there."
            )

    def rest(self) -> None:
        """Training has come to rest: tell those who wait for the end of a generation that does not come."""
        while self._wanted:
            _, _, done, errors = self._wanted.pop()
            errors.append(RuntimeError(_under_way(self.experiment)))
            done.set()

    def close(self) -> None:
        """End the trackers and give the folders back."""
        experiment = self.experiment
        confirmed = experiment._run.best is not None
        self.trackers.finish((lambda: experiment.rollout(agent="elite")) if confirmed else None)
        for path in {*self._folders, *([self.folder] if self.folder else [])}:
            lock.release(path)

    def _save_quietly(self) -> None:
        if self.folder is None:
            return
        try:
            self.write(self.folder, False)
            self.problem = None
        except Exception as error:
            self.problem = str(error)
            self._saved_at = time.monotonic()  # not again at once: a slow disk must not slow training
            checks.notice(
                f"no checkpoint of generation {self.experiment.generation}, training goes on: {error}"
            )

    def _serve(self) -> None:
        while self._wanted:
            path, overwrite, done, errors = self._wanted.pop()
            try:
                self.write(path, overwrite)
            except Exception as error:
                errors.append(error)
            done.set()

    # On request -------------------------------------------------------------------------------

    def save(self, folder: str | PathLike[str] | None, overwrite: bool = False) -> Path:
        """Write a checkpoint now, or at the end of the generation that a background thread is in."""
        path = self.folder if folder is None else Path(folder).expanduser()
        if path is None:
            path = next(reversed(self._folders), None)
        if path is None:
            raise ValueError("save() needs a folder: exp.save('runs/lander').")
        experiment = self.experiment
        thread = experiment._thread
        if experiment.status == "running" and thread is not None and thread is not threading.current_thread():
            done, errors = threading.Event(), []  # type: ignore[var-annotated]
            self._wanted.append((path, overwrite, done, errors))
            while not done.wait(0.1):
                if not thread.is_alive():
                    self.rest()
            if errors:
                raise errors[0]
            return path
        with experiment._lock:
            if experiment._run.current is not None:
                return self._last_boundary(path)
            self.write(path, overwrite)
        return path

    def write(self, path: Path, overwrite: bool) -> None:
        """Write a checkpoint of the run as it stands, between two generations.

        Raises:
            FileExistsError: the folder holds another run, or something else.
            OSError: the disk is full or the folder is read-only.
        """
        experiment = self.experiment
        run = experiment._run
        if not run.populated:
            raise RuntimeError("there is nothing to save yet. Call exp.fill('data.h5') first.")
        folder = self._folders.get(path)
        if folder is None:
            if not overwrite:
                self._refuse_other_run(path, "Pass overwrite=True to replace it, or choose another folder.")
            folder = RunFolder(path)
        about = {
            "run": self.run_id,
            "name": experiment.name,
            "config": experiment.config,
            "own": own_parts(experiment._options, run),
            "automatic": path == self.folder,
        }
        try:
            folder.write(run, about, self.keep)
        except OSError as error:
            before = f"that of generation {folder.newest}" if folder.newest is not None else "what was there"
            raise type(error)(
                error.errno, f"{error.strerror or error}; {before} in {path} is untouched", error.filename
            ) from error
        self._folders.pop(path, None)
        self._folders[path] = folder  # the newest last
        if path == self.folder or self.folder is None:
            self._saved_at, self._unsaved = time.monotonic(), 0

    def _last_boundary(self, path: Path) -> Path:
        """In the middle of a generation: the checkpoint of its beginning, where there is one."""
        number = self.experiment.generation
        for known, folder in self._folders.items():
            if folder.newest == number and folder.generation(number).is_dir():
                if known.resolve() != path.resolve():
                    _copy(known, path)
                return path
        raise RuntimeError(_under_way(self.experiment))

    def adopt(self, folder: RunFolder, run_id: str, automatic: bool) -> None:
        """Go on with a run that was loaded from `folder`."""
        self.run_id = run_id
        self._folders[folder.path] = folder
        if automatic:
            self.folder = folder.path

    def _refuse_other_run(self, path: Path, advice: str) -> None:
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise FileExistsError(f"{path} is not a plain folder. Choose another one.")
        owner = RunFolder(path).owner() if path.is_dir() else None
        if owner is not None and owner != self.run_id:
            numbers = RunFolder(path).numbers()
            upto = f" (generation {numbers[0]})" if numbers else ""
            raise FileExistsError(f"{path} holds another run{upto}. {advice}")


def interval(every: Any) -> tuple[int, float]:
    """Generations and seconds that must have passed between two checkpoints.

    Raises:
        ValueError: neither a whole number of generations nor a time.

    >>> interval(5), interval("10 min")
    ((5, 0.0), (1, 600.0))
    """
    if isinstance(every, timedelta):
        return 1, every.total_seconds()
    if isinstance(every, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+?)s?\s*", every.lower())
        if match and match[2] in _UNITS:
            return 1, float(match[1]) * _UNITS[match[2]]
        raise ValueError(
            f"checkpoint_every is {every!r}; a number of generations or a time like '10 min' is expected."
        )
    return checks.positive_integer("checkpoint_every", every), 0.0


def _under_way(experiment: Experiment) -> str:
    return (
        f"generation {experiment.generation + 1} is under way, and a checkpoint holds whole generations. "
        "Finish it with exp.step() and save then, or give Experiment a folder=, where every generation is "
        "kept by itself."
    )


def _copy(source: Path, target: Path) -> None:
    """A run's folder, copied whole or not at all."""
    if target.exists():
        raise FileExistsError(f"{target} exists. Choose another folder.")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.parent / f".{target.name}.copy.tmp"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        shutil.copytree(source, draft, ignore=shutil.ignore_patterns(".*", "abandoned"))
        draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync_folder(target.parent)


def load_experiment(
    kind: type[Experiment], folder: str | PathLike[str], generation: int | None, given: dict[str, Any]
) -> Experiment:
    """An experiment that goes on where a folder says; see `Experiment.load`."""
    path = Path(folder).expanduser()
    if path.is_symlink():
        raise ValueError(f"{path} is a link; links are not followed. Pass the folder itself.")
    place = RunFolder(path)
    saved, state, problems = place.open(generation)
    for problem in problems:
        warnings.warn(f"{problem} Generation {state['generation']} is used instead.", stacklevel=3)
    given = {name: part for name, part in given.items() if part is not None}
    for name, described in state["own"].items():
        if name not in given:
            raise ValueError(
                f"the run in {path} has its own {name} ({described}), and nothing is imported by a name in a "
                f"file. Pass the object: Experiment.load({str(path)!r}, {name}=...)."
            )
    # What it was started from is in its agents by now, and may be gone.
    options = {name: value for name, value in state["config"].items() if name not in (*given, "load")}
    experiment = kind.from_config(options, **given)
    run = experiment._run
    if not run.populated:
        from evolab.core import spaces

        about = state["population"]
        lived = [spaces.from_json(about[name]) for name in ("observation_space", "action_space")]
        run.populate(populate(experiment._options, experiment._seed, *lived))
    place.restore(run, saved, state, experiment._options["device"])
    experiment._keeper.adopt(place, str(state["run"]), bool(state["automatic"]))
    other = lock.holder(path)
    if other is not None:
        warnings.warn(
            f"{path} is in use by process {other.get('pid')} on {other.get('host')}: this copy can be "
            "looked at, and saved elsewhere.",
            stacklevel=3,
        )
    if "data" in state["buffer"]:
        name = state["buffer"]["data"]
        warnings.warn(
            f"its data stayed in {name}: call exp.fill({name!r}) before the next step.", stacklevel=3
        )
    return experiment
