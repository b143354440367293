"""`evolab sweep`: its arguments, and what it does; nothing else is imported until it does it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


def add_to(commands: Any, add_goals: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command to those of a parser."""
    sweep = commands.add_parser(
        "sweep",
        help="train many runs: seeds, settings, grids of them",
        description="Train what a .yaml or .json file sweeps over: options as `evolab run` takes them, and a section "
        "`sweep:` with seeds, configs or grid, or with islands, migration and every. Given a sweep's folder, go on "
        "with it. The results are the same in every engine and with any number of workers; a worker that is lost "
        "costs what it did since its checkpoint.",
        epilog="examples:\n  evolab sweep lander.yaml --engine folder --workers 8\n"
        "  evolab sweep runs/lander --generations 50\n  srun evolab sweep /shared/runs/lander --join",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sweep.add_argument("what", metavar="FILE", help="path of the configuration, or of a sweep's folder")
    sweep.add_argument(
        "--engine",
        choices=("local", "folder", "ray"),
        default="local",
        help="this process, processes that meet in the folder, or actors of Ray (default: local)",
    )
    sweep.add_argument("--workers", type=int, metavar="N", help="how many (default: one for each core)")
    sweep.add_argument("--threads", type=int, default=1, metavar="N", help="of each worker (default: 1)")
    sweep.add_argument(
        "--retries", type=int, default=2, metavar="N", help="new beginnings of a run that fails (default: 2)"
    )
    sweep.add_argument(
        "--join",
        action="store_true",
        help="be one more worker on a sweep's folder, until nothing is left to do",
    )
    add_goals(sweep)
    sweep.set_defaults(command=obey)


def obey(options: argparse.Namespace) -> int:
    """Train many runs, or be one of the workers that do; 1 where a run was given up."""
    if options.join:
        from evolab.experiment.sweeps.joining import join

        return int(join(options.what) > 0)
    from evolab.experiment.sweeps.beginning import sweep

    goals = {name: getattr(options, name) for name in ("generations", "max_steps", "minutes", "target")}
    goals = {name: value for name, value in goals.items() if value is not None}
    made = sweep(
        options.what,
        options.out,
        engine=options.engine,
        workers=options.workers,
        threads=options.threads,
        retries=options.retries,
        **goals,
    )
    print(made)
    return int(bool(made.failed))
