"""sweep: many runs at once, by seeds and settings, on this process, on processes, or on Ray; one folder holds them all."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolab.core import checks
from evolab.experiment.engines.folder import Folder
from evolab.experiment.engines.local import Local
from evolab.experiment.engines.orders import Engine, Goals, Report
from evolab.experiment.sweeps.display import NAMES, Screen, as_html, as_text, rows_of, state_of
from evolab.experiment.sweeps.job import SweepJob
from evolab.experiment.sweeps.plan import FILE, Plan, What, planned
from evolab.storage import lock

if TYPE_CHECKING:
    from pandas import DataFrame

ENGINES = ("local", "folder", "ray")


def sweep(
    what: What,
    folder: str | PathLike[str] | None = None,
    *,
    engine: str = "local",
    workers: int | None = None,
    threads: int = 1,
    retries: int = 2,
    wait: bool = True,
    **options: Any,
) -> Sweep:
    """Train many runs, the same in every engine and with any number of workers, bit for bit.

    Called again with the same folder it goes on: runs that are over stay as they are, others go on from their newest
    checkpoint, further seeds and settings are added, and goals may be raised.

    Args:
        what: seeds (a list, or how many), settings (a list of options by name, "hyperparameters.lr" among them), or
            {"seeds": ..., "configs": ..., "grid": {"hyperparameters.lr": [1e-4, 1e-3]}}; the path of a .yaml or
            .json file with such a section `sweep:`; or the folder of a sweep, to go on with it.
        folder: of the results, one run each below it; None for a new one in `runs/`. Every worker has to see it.
        engine: "local" is this process, one run after the other; "folder" is processes that meet in the folder,
            and any that join by `evolab sweep FOLDER --join`; "ray" is actors of Ray, on the cluster that
            `RAY_ADDRESS` names, or on this machine.
        workers: how many; None for one for each core (or for each of the cluster's). "folder" takes 0, where all of
            them join from elsewhere.
        threads: of each worker, the same in every engine.
        retries: how often a run may be begun again, after its worker was lost or it raised, without an epoch that
            ends; it is given up then, the others go on. A further call tries it again.
        wait: False trains on a thread; `Sweep.wait()` waits, `Sweep.stop()` stops.
        **options: of every run, as `Experiment` takes them, and their goals, as `Experiment.run` takes them:
            generations, max_steps, target, minutes; `fill` as `Experiment.fill` takes it. Without a seed it is 0.

    Raises:
        ValueError: an unknown option or engine, no goal, or a run that was begun with other options.
        RuntimeError: another process drives this sweep.
        ImportError: Ray is not installed.
    """
    shown = options.pop("progress", True)
    home, plan = _plan(what, folder, options)
    plan = replace(
        plan,
        retries=checks.positive_integer("retries", retries, 0),
        threads=checks.positive_integer("threads", threads),
    )
    if engine not in ENGINES:
        raise checks.unknown("engine", engine, ENGINES)
    workers = _workers(engine, workers, threads, len(plan.runs))
    if engine == "folder":
        _refuse_objects(plan)
    plan.check(sends=engine != "local")
    made = Sweep(home, plan)
    made.start(lambda: _engine(engine, workers, threads), shown, background=not wait)
    return made


class Sweep:
    """Many runs in one folder; `ev.sweep` makes it. `ev.runs`, `ev.compare` and `ev.dashboard` read its folder too.

    Args:
        folder: of the sweep.
        plan: what is trained.

    Attributes:
        folder: where each run has its own; `ev.load(sweep.folder / name)` opens one.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        self._job = SweepJob(folder, plan)
        self._halt = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    # Training ---------------------------------------------------------------------------------

    def start(self, engine: Callable[[], Engine], shown: bool = True, background: bool = False) -> None:
        """Take the folder, and have the runs trained.

        Args:
            engine: makes what trains them.
            shown: say how it goes.
            background: on a thread; `wait` waits for it.

        Raises:
            RuntimeError: the folder is in use.
            ValueError: a run was begun with other options.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(self.folder, self)
        except lock.TakenOver:
            raise RuntimeError(
                f"{self.folder} is being swept by this process already. Wait for that."
            ) from None
        try:
            plan = self._job.plan
            if (self.folder / FILE).exists():
                own = {name: value for run in plan.runs for name, value in run.own.items()}
                plan = plan.united(Plan.read(self.folder, own))
            self._job = SweepJob(self.folder, plan)
            plan.write(self.folder)
            self._job.forgive()
            self._halt.clear()
            made = engine()
        except BaseException:
            lock.release(self.folder, self)
            raise
        if not background:
            self._drive(made, Screen(shown))
            return
        self._thread = threading.Thread(
            target=self._drive_apart, args=(made,), name="evolab-sweep", daemon=True
        )
        self._thread.start()

    def _drive_apart(self, engine: Engine) -> None:
        try:
            self._drive(engine, Screen(False))
        except BaseException as error:
            self._error = error

    def _drive(self, engine: Engine, screen: Screen) -> None:
        try:
            self._show(screen)
            for _ in engine.drive(self._job):
                self._show(screen)
                if self._halt.is_set():
                    break
            self._show(screen, last=True)
        finally:
            engine.close()
            lock.release(self.folder, self)
        if self.failed and not self._halt.is_set():
            checks.notice(
                f"{len(self.failed)} of {len(self)} runs were given up: {', '.join(self.failed[:8])}. sweep.table says "
                f"why; ev.sweep({str(self.folder)!r}) tries them again."
            )

    def stop(self) -> None:
        """End at the next report; the runs stand at their newest checkpoints, and a further call goes on."""
        self._halt.set()
        self.wait()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the thread that trains; raises its error. True where it has ended."""
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                return False
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return True

    # What there is ----------------------------------------------------------------------------

    @property
    def failed(self) -> list[str]:
        """Runs that were given up."""
        return [one.run for one in self._job.reports() if one.failed(self._job.plan.retries)]

    @property
    def finished(self) -> bool:
        """True where every run has met a goal."""
        plan = self._job.plan
        return all(one.met(run.goals) for run, one in zip(plan.runs, self._job.reports(), strict=True))

    @property
    def table(self) -> DataFrame:
        """One row for each run: run, state, generation, steps (evaluation included), best, confirmed, seconds, error."""
        import pandas as pd

        reports = self._job.reports()
        rows = [
            {
                "run": one.run,
                "state": state,
                "generation": one.generation,
                "steps": one.total_steps + one.evaluation_steps,
                "best": one.best,
                "confirmed": one.confirmed,
                "seconds": one.seconds,
                "error": one.error,
            }
            for one, state in zip(reports, self._states(reports), strict=True)
        ]
        return pd.DataFrame(rows, columns=list(NAMES))

    def trace(self, run: str) -> str:
        """Where the error of a run came from; empty where there was none."""
        names = [one.name for one in self._job.plan.runs]
        if run not in names:
            raise checks.unknown("run of the sweep", run, names)
        return Report.read(self.folder, run).trace

    def _states(self, reports: Sequence[Report]) -> list[str]:
        plan = self._job.plan
        pairs = zip(plan.runs, reports, strict=True)
        return [state_of(one, plan.retries, one.met(run.goals)) for run, one in pairs]

    def _told(self) -> tuple[str, list[tuple[str, ...]]]:
        reports = self._job.reports()
        states = self._states(reports)
        over = sum(state.startswith("over") for state in states)
        failed = states.count("failed")
        title = f"{self.folder}: {over} of {len(states)} runs are over" + (
            f", {failed} failed" if failed else ""
        )
        return title, rows_of(reports, states)

    def _show(self, screen: Screen, last: bool = False) -> None:
        screen.show(*self._told(), last)

    def __len__(self) -> int:
        return len(self._job.plan.runs)

    def __repr__(self) -> str:
        return as_text(*self._told())

    def _repr_html_(self) -> str:
        return as_html(*self._told())


def _plan(what: What, folder: str | PathLike[str] | None, options: Mapping[str, Any]) -> tuple[Path, Plan]:
    """Where to, and what."""
    if isinstance(what, str | PathLike) and (Path(what).expanduser() / FILE).exists():
        home = Path(what).expanduser()
        if folder is not None and Path(folder).expanduser() != home:
            raise ValueError(f"{home} is a sweep, and goes on where it is. Leave the folder out.")
        goals = {name: value for name, value in options.items() if name in Goals.__dataclass_fields__}
        own = {name: value for name, value in options.items() if name not in goals}
        plan = Plan.read(home, own)
        needed = {name for run in plan.runs for name in run.own}
        for name in own:
            if name not in needed:
                raise ValueError(
                    f"{home} is a sweep with options of its own; {name} cannot change. Leave it out."
                )
        runs = [replace(run, goals=Goals.of({**run.goals.plain, **goals})) for run in plan.runs]
        return home, replace(plan, runs=runs)
    wanted = planned(what, options)
    if folder is not None:
        home = Path(folder).expanduser()
        if (
            home.exists()
            and not (home / FILE).exists()
            and any(not one.name.startswith(".") for one in home.iterdir())
        ):
            raise FileExistsError(
                f"{home} is not empty, and holds no sweep. Name another folder, or empty it."
            )
        return home, Plan(wanted)
    stem = Path(what).stem if isinstance(what, str | PathLike) else "sweep"
    home, number = Path("runs") / stem, 1
    while home.exists():
        number += 1
        home = Path("runs") / f"{stem}-{number}"
    return home, Plan(wanted)


def _workers(engine: str, workers: int | None, threads: int, runs: int) -> int:
    """How many workers are meant; 0 for as many as a cluster has room for."""
    if engine == "local":
        if workers not in (None, 1):
            raise ValueError(
                f"engine='local' is this process alone, workers is {workers}. Pass engine='folder'."
            )
        return 1
    if workers is not None:
        return checks.positive_integer("workers", workers, 0 if engine == "folder" else 1)
    if engine == "ray":
        return 0
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, min(cores // threads, runs))


def _refuse_objects(plan: Plan) -> None:
    for run in plan.runs:
        for name, value in run.own.items():
            described = getattr(value, "__name__", None) or type(value).__name__
            raise ValueError(
                f"engine='folder' hands on files alone, and {name} is an object of your own ({described}). "
                "Register an environment, and name its module: 'my_module:MyEnv-v0'; or use engine='ray' or 'local'."
            )


def _engine(engine: str, workers: int, threads: int) -> Engine:
    if engine == "local":
        return Local()
    if engine == "folder":
        return Folder(workers)
    from evolab.experiment.engines.on_ray import OnRay

    return OnRay(workers, threads)
