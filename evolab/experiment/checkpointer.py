"""Checkpointer: when a run is written to disk, and where; what fails is said, and training goes on."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from evolab.core import checks
from evolab.core.machine_memory import as_text
from evolab.experiment.config.conversions import interval
from evolab.history.events import Event, Finished, Generation
from evolab.storage import lock
from evolab.storage.files import disk_is_full, sync_folder
from evolab.training.run_folder import RunFolder
from evolab.training.snapshot import Boundary
from evolab.training.state import TrainingState

LARGEST = 2**30
"""Bytes of the largest agents that are kept in memory as they were when a generation began."""


class Checkpointer:
    """Writes checkpoints of a run, by itself where it has a folder.

    Args:
        state: what is written.
        about: what else a checkpoint remembers, by name: "name" (of the environment), "config", "own".
        folder: where checkpoints go; None for none but those asked for.
        every: generations between two checkpoints, or a time such as "10 min".
        keep: newest checkpoints to keep, besides the best one.

    Attributes:
        run_id: of the run, the same after loading.
        problem: why the newest checkpoint was not written; None where it was.

    Raises:
        FileExistsError: the folder holds another run.
        RuntimeError: another process writes there.
    """

    def __init__(
        self,
        state: TrainingState,
        about: Callable[[], dict[str, object]],
        folder: Path | None = None,
        every: int | str = 1,
        keep: int = 3,
    ) -> None:
        self.run_id = uuid.uuid4().hex
        self.folder: Path | None = None
        self.problem: str | None = None
        self._state, self._about = state, about
        self._generations, self._seconds = interval(every)
        self._keep = keep
        self._folders: dict[Path, RunFolder] = {}
        self._kept: Boundary | None = None  # None where a folder has it
        self._mark: tuple[int, int, int] | None = (
            None  # where the run stood that is kept, in memory or in a folder
        )
        self._owned: set[Path] = set()  # what another object has taken over since is not taken back
        self._saved_at, self._unsaved = time.monotonic(), 0
        self.move(folder)

    # During training --------------------------------------------------------------------------

    def ready(self) -> None:
        """Before training: make sure that the folder is ours."""
        if self.folder is not None and self.folder.exists():
            try:
                self._own(self.folder)
            except lock.TakenOver as error:
                self._let_go(error)
        self._keep_boundary()

    def after(self, event: Event) -> None:
        """Between two events of training: write a checkpoint where one is due."""
        if isinstance(event, Generation):
            self._unsaved += 1
            if self._unsaved >= self._generations and time.monotonic() - self._saved_at >= self._seconds:
                self._write_quietly()
            self._keep_boundary()
        elif isinstance(event, Finished) and self._unsaved:
            self._write_quietly()

    def failed(self) -> None:
        """Training broke off: keep what is not on the disk yet, and say where to go on from."""
        if self.folder is None:
            return
        if self._unsaved:
            self._write_quietly()
        known = self._folders.get(self.folder)
        if known is not None and known.newest is not None:
            checks.notice(
                f"training stopped in generation {self._state.generation + 1}; generation {known.newest} is "
                f"saved: Experiment.load({str(self.folder)!r}) goes on from there."
            )

    def close(self) -> None:
        """Give the folders back."""
        for path in {*self._folders, *([self.folder] if self.folder else [])}:
            lock.release(path, self)

    def _write_quietly(self) -> None:
        if self.folder is None:
            return
        folder, generation = self.folder, self._state.generation
        try:
            (self.write_boundary if self._state.under_way else self.write)(folder)
        except lock.TakenOver as error:
            self._let_go(error)
        except Exception as error:  # whatever a disk does may cost a checkpoint, never the run
            self._saved_at = time.monotonic()  # not again at once: a slow disk must not slow training
            if self.problem is None:  # it is said when it begins, and when it is over
                checks.notice(
                    f"no checkpoint of generation {generation}, training goes on: {error}{self._space(error)} "
                    f"The next generations are tried again; what was written last stays whole."
                )
            self.problem = str(error)
        else:
            if self.problem is not None:
                checks.notice(f"checkpoints are written again: generation {generation} is in {folder}.")
            self.problem = None

    def _space(self, error: Exception) -> str:
        """What a full disk has left, and what a checkpoint needs."""
        if not disk_is_full(error) or self.folder is None:
            return "."
        needed = Boundary.of(self._state).needed
        free = shutil.disk_usage(self.folder).free
        return f". It needs about {as_text(needed)}, and {as_text(free)} are free in {self.folder}."

    def _own(self, path: Path) -> None:
        """Take a folder from whoever had it in this process; what was lost so is lost for good."""
        known = path.resolve()
        lock.acquire(path, self, take=known not in self._owned)
        self._owned.add(known)

    def _let_go(self, error: lock.TakenOver) -> None:
        self.problem, self.folder = str(error), None
        checks.notice(f"{error} It goes on in memory.")

    # On request -------------------------------------------------------------------------------

    @property
    def kept(self) -> Path | None:
        """Where the run is kept: by itself, or where it was saved last; None for nowhere."""
        return self.folder or next(reversed(self._folders), None)

    def place(self, folder: Path | None) -> Path:
        """Where a save goes that names this folder, or none.

        Raises:
            ValueError: none was named, now or before.
        """
        found = folder or self.kept
        if found is None:
            raise ValueError("save() needs a folder: exp.save('runs/lander').")
        return found

    def write(self, path: Path, overwrite: bool = False) -> None:
        """Write a checkpoint of the run as it stands, between two generations.

        Raises:
            FileExistsError: the folder holds another run, or something else.
            OSError: the disk is full or the folder is read-only.
        """
        if not self._state.populated:
            raise RuntimeError("there is nothing to save yet. Call exp.fill('data.h5') first.")
        self._write(path, Boundary.of(self._state), overwrite)
        self._kept, self._mark = None, self._standing()

    def write_boundary(self, path: Path, overwrite: bool = False) -> None:
        """In the middle of a generation: write the run as it was at its beginning, and say so.

        Raises:
            FileExistsError: the folder holds another run, or something else.
            RuntimeError: nothing was kept of it, since the agents are too large.
            OSError: the disk is full or the folder is read-only.
        """
        number = self._state.generation
        told = f"generation {number + 1} is under way: what is saved is the run at the end of generation {number}"
        if self._kept is None:
            self._copy_boundary(path, number)
            checks.notice(f"{told}.")
            return
        at = self._kept.since(self._state.buffer)
        self._write(path, at, overwrite)
        lost = f", without its {at.missing} oldest transitions, which newer ones have replaced" * bool(
            at.missing
        )
        checks.notice(f"{told}{lost}.")

    def _write(self, path: Path, at: Boundary, overwrite: bool) -> None:
        folder = self._folders.get(path)
        if folder is None:
            if not overwrite:
                self._refuse_other_run(path, "Pass overwrite=True to replace it, or choose another folder.")
            folder = RunFolder(path)
        about = {"run": self.run_id, **self._about(), "automatic": path == self.folder}
        try:
            # What was there and is gone may only be away, as a network's storage may: nothing is made in its place.
            path.mkdir(parents=path.resolve() not in self._owned, exist_ok=True)
            with lock.writing(path):
                self._own(path)
                folder.write(at, about, self._keep)
        except OSError as error:
            before = f"that of generation {folder.newest}" if folder.newest is not None else "what was there"
            raise type(error)(
                error.errno, f"{error.strerror or error}; {before} in {path} is untouched", error.filename
            ) from error
        self._folders.pop(path, None)
        self._folders[path] = folder  # the newest last
        if path == self.folder or self.folder is None:
            self._saved_at, self._unsaved = time.monotonic(), 0

    def _standing(self) -> tuple[int, int, int]:
        return self._state.generation, self._state.total_steps, self._state.changes.count

    def _keep_boundary(self) -> None:
        """Between two generations: see to it that the run as it is now can be saved while training goes on."""
        if self._state.under_way or self._mark == self._standing():
            return
        at = Boundary.of(self._state)
        self._kept = at.kept() if at.size <= LARGEST else None
        self._mark = self._standing()

    def _copy_boundary(self, path: Path, number: int) -> None:
        for known, folder in self._folders.items():
            if folder.newest == number and folder.generation(number).is_dir():
                if known.resolve() != path.resolve():
                    _copy(known, path)
                return
        raise RuntimeError(
            f"generation {number + 1} is under way, and a checkpoint holds whole generations. "
            "Its agents are too large to be kept in memory as they were. Finish it with exp.step() and save then, "
            "or give Experiment a folder=, where every generation is kept by itself."
        )

    def adopt(self, loaded: RunFolder, run_id: str, folder: Path | None) -> None:
        """Go on with a run that was loaded.

        Args:
            loaded: where from.
            run_id: of the run.
            folder: where checkpoints go by themselves from now on; None for none but those asked for.
        """
        self.run_id = run_id
        self._folders[loaded.path] = loaded
        self.folder = folder

    def move(self, folder: Path | None) -> None:
        """Write checkpoints there by itself from now on; None for nowhere."""
        if folder is not None:
            self._refuse_other_run(folder, "Continue it with Experiment.load, or choose another folder.")
            folder.mkdir(parents=True, exist_ok=True)
            self._own(folder)
        self.folder = folder

    def _refuse_other_run(self, path: Path, advice: str) -> None:
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise FileExistsError(f"{path} is not a plain folder. Choose another one.")
        owner = RunFolder(path).owner() if path.is_dir() else None
        if owner is not None and owner != self.run_id:
            numbers = RunFolder(path).numbers()
            upto = f" (generation {numbers[0]})" if numbers else ""
            raise FileExistsError(f"{path} holds another run{upto}. {advice}")


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
