"""sweep: many runs at once, in this process, on processes, or on Ray; one folder holds them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from evolab.core import checks
from evolab.core.shown import own_name
from evolab.experiment.config.island_options import FILE
from evolab.experiment.engines.folder import Folder
from evolab.experiment.engines.local import Local
from evolab.experiment.engines.orders import Engine, RunGoals
from evolab.experiment.sweeps.migration_orders import island_plan
from evolab.experiment.sweeps.plan import Plan, What, opened, planned
from evolab.experiment.sweeps.sweep import Sweep
from evolab.networks.kernels.core_sharing import cores

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

    Islands are one search in several populations, each with its own replay and its own seeds. At the end of every epoch of
    `every` generations the best agent of one asks for a place on another: the neighbour's ("ring"), anybody's ("random",
    drawn anew each time), or that of the best of all ("best"). At the end of the next generation it takes that of the
    newborn with the worst parent, if it is better than that parent was. It brings its moments and targets, and is
    measured there like all others. The history of the island that it comes to has it as a birth of kind "migrated".
    `population` and `generations` are those of one island, `max_steps` of all; a target ends all with the epoch.

    Args:
        what: seeds (a list, or how many), settings (a list of options by name, "hyperparameters.lr" among them), or
            {"seeds": ..., "configs": ..., "grid": {"hyperparameters.lr": [1e-4, 1e-3]}}; or, for populations whose
            best agents migrate, {"islands": 4, "migration": "ring", "every": 10} (see below; `transitions`, `frequencies`,
            `synchronous` and `exact` as in `Experiment(islands=...)`); the path of a .yaml or .json file with such a section
            `sweep:`; or the folder of a sweep, to go on with it.
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
    return _begun(home, plan, engine, workers, shown, wait)


def _begun(home: Path, plan: Plan, engine: str, workers: int | None, shown: bool, wait: bool) -> Sweep:
    """Runs under way, or at their ends where that was waited for."""
    makes = engine_for(plan, engine, workers)
    made = Sweep(home, plan)
    made.start(makes, shown, background=not wait)
    return made


def engine_for(plan: Plan, engine: str, workers: int | None) -> Callable[[], Engine]:
    """What makes the engine, once it is known that the plan's runs can be trained by it.

    Raises:
        ValueError: an unknown engine, options that no run could begin with, or that the workers cannot be sent.
    """
    if engine not in ENGINES:
        raise checks.unknown("engine", engine, ENGINES)
    count = _workers(engine, workers, plan.threads, len(plan.runs))
    if engine == "folder":
        _refuse_objects(plan)
    plan.check(sends=engine != "local")
    room = 1 if plan.migration is None else len(plan.runs)
    return lambda: _engine(engine, count, plan.threads, room)


def _plan(what: What, folder: str | PathLike[str] | None, options: Mapping[str, object]) -> tuple[Path, Plan]:
    """Where to, and what."""
    if isinstance(what, str | PathLike) and (Path(what).expanduser() / FILE).exists():
        home = Path(what).expanduser()
        if folder is not None and Path(folder).expanduser() != home:
            raise ValueError(f"{home} is a sweep, and goes on where it is. Leave the folder out.")
        goals = {name: value for name, value in options.items() if name in RunGoals.__dataclass_fields__}
        own = {name: value for name, value in options.items() if name not in (*goals, "exact")}
        plan = Plan.read(home, own)
        plan = replace(plan, exact=checks.flag("exact", options.get("exact", plan.exact)))
        needed = {name for run in plan.runs for name in run.own}
        for name in own:
            if name not in needed:
                raise ValueError(
                    f"{home} is a sweep with options of its own; {name} cannot change. Leave it out."
                )
        runs = [replace(run, goals=RunGoals.of({**run.goals.plain, **goals})) for run in plan.runs]
        return home, replace(plan, runs=runs)
    stem = Path(what).stem if isinstance(what, str | PathLike) else "sweep"
    wanted, given = opened(what, options)
    if isinstance(wanted, Mapping) and "islands" in wanted:
        return _home(folder, stem), island_plan(wanted, given)
    return _home(folder, stem), Plan(planned(wanted, given))


def _home(folder: str | PathLike[str] | None, stem: str) -> Path:
    """The folder that was named, or a new one."""
    if folder is not None:
        home = checks.path("folder", folder)
        foreign = home.is_dir() and [one for one in home.iterdir() if not one.name.startswith(".")]
        if foreign and not (home / FILE).exists():
            raise FileExistsError(
                f"{home} is not empty, and holds no sweep. Name another folder, or empty it."
            )
        return home
    home, number = Path("runs") / stem, 1
    while home.exists():
        number += 1
        home = Path("runs") / f"{stem}-{number}"
    return home


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
    return max(1, min(cores() // threads, runs))


def _refuse_objects(plan: Plan) -> None:
    for run in plan.runs:
        for name, value in run.own.items():
            raise ValueError(
                f"engine='folder' hands on files alone, and {name} is an object of your own ({own_name(value)}). "
                "Register an environment, and name its module: 'my_module:MyEnv-v0'; or use engine='ray' or 'local'."
            )


def _engine(engine: str, workers: int, threads: int, room: int) -> Engine:
    if engine == "local":
        return Local(room)
    if engine == "folder":
        return Folder(workers)
    from evolab.experiment.engines.on_ray import OnRay

    return OnRay(workers, threads)
