"""The command line: `evolab demo` trains and shows a first population, `evolab run` one of your own.

Mistakes of the user (an unknown environment, a bad option, a folder that is taken) end with one
line and exit code 2 before any time is spent; errors while training keep their traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evolab.experiment.experiment import Experiment
    from evolab.history.events import Generation

ENVIRONMENTS = {
    "TD3": "LunarLanderContinuous-v3",
    "DDPG": "Pendulum-v1",
    "DQN": "CartPole-v1",
    "PPO": "CartPole-v1",
}
GOALS = ("generations", "max_steps", "minutes")
COLUMNS = "{:>4} {:>9} {:>9} {:>9} {:>10} {:>6}  {:<12} {:>7}  {}"
INTERRUPTED, CLOSED_PIPE = 130, 141
"""Exit codes of a process that SIGINT or SIGPIPE has ended, as shells have them."""

MISTAKES = (ValueError, TypeError, ImportError, LookupError, OSError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Args:
        arguments: the words after `evolab`; None for the process's own.
    """
    try:
        code = _obey(_parser().parse_args(arguments))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output, such as `head`, has enough
        with contextlib.suppress(
            OSError, ValueError
        ):  # what is left to write must not fail once more at the exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return code


def _obey(options: argparse.Namespace) -> int:
    if not hasattr(options, "command"):
        _parser().print_help()
        return 0
    try:
        if options.command in (_runs, _certify):
            return int(options.command(options))
        folder, experiment, goals = options.command(options)
    except BrokenPipeError:
        raise
    except MISTAKES as error:
        print(f"evolab: {error}", file=sys.stderr)
        return 2
    return _train(experiment, folder, **goals)


def _parser() -> argparse.ArgumentParser:
    import evolab

    parser = argparse.ArgumentParser(
        prog="evolab",
        description="Evolve populations of reinforcement-learning agents.",
        epilog="A run is kept in a folder that `evolab run FOLDER` goes on with: the newest generations and the "
        "best one, elite/ (the best agent that fresh episodes confirmed), history/, config.yaml and rollout.gif.",
    )
    parser.add_argument("--version", action="version", version=f"evolab {evolab.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    demo = commands.add_parser(
        "demo",
        help="train a population with settings that are known to work",
        description="Train a population with settings that are known to work, and show how it evolves.",
        epilog="examples:\n  evolab demo\n  evolab demo --algorithm DQN --env CartPole-v1 --generations 3",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    demo.add_argument("--algorithm", default="TD3", help="TD3, DDPG, DQN or PPO (default: TD3)")
    demo.add_argument("--env", help="a Gymnasium id (default: one that suits the algorithm)")
    demo.add_argument("--population", type=int, metavar="P", help="number of agents (default: 4)")
    demo.add_argument("--seed", type=int, default=1, help="of everything (default: 1)")
    demo.add_argument("--steps-per-generation", type=int, metavar="N", help="environment steps of each agent")
    demo.add_argument("--device", help="auto, cpu or cuda (default: auto)")
    _add_goals(demo)
    demo.set_defaults(command=_demo)

    run = commands.add_parser(
        "run",
        help="train from a configuration file, or go on with a run",
        description="Train from a .yaml or .json file that holds what `exp.config` shows. A section `run:` "
        "may name fill, generations, max_steps, minutes and target; the options below win over it. "
        "Given the folder of a run, go on where it stopped.",
    )
    run.add_argument("config", help="path of the configuration, or of a run's folder")
    run.add_argument(
        "--fill", metavar="N|DATA", help="random environment steps, or a data file (default: 1000)"
    )
    _add_goals(run)
    run.set_defaults(command=_run)

    certify = commands.add_parser(
        "certify",
        help="train a run's winning settings on many seeds",
        description="Train the winner's schedule of a saved run on many seeds at once, each with data of its own "
        "and without evolution: what the settings are worth when they are used alone. Shows the interquartile "
        "mean with its 95% interval, and writes certificate.json into the run's folder, which is otherwise "
        "left as it is.",
    )
    certify.add_argument("folder", metavar="RUN", help="folder of the run")
    certify.add_argument("--seeds", type=int, default=16, metavar="N", help="how many (default: 16)")
    certify.add_argument(
        "--max-steps",
        type=int,
        metavar="N",
        help="environment steps of all seeds together (default: for each, as many as the run's agents stored)",
    )
    certify.add_argument(
        "--episodes", type=int, default=20, metavar="N", help="of each seed's final agent (default: 20)"
    )
    certify.add_argument(
        "--target", type=float, metavar="R", help="mean return looked for (default: the run's)"
    )
    certify.set_defaults(command=_certify)

    listed = commands.add_parser("runs", help="list saved runs, the newest first")
    listed.add_argument("folder", nargs="?", default="runs", help="where to look (default: runs)")
    listed.set_defaults(command=_runs)
    return parser


def _certify(options: argparse.Namespace) -> int:
    """Print a certificate of a saved run, and write it into its folder."""
    from evolab.experiment.experiment import Experiment

    experiment = Experiment.load(options.folder)
    try:
        found = experiment.certify(
            options.seeds, max_steps=options.max_steps, episodes=options.episodes, target=options.target
        )
    finally:
        experiment.close()
    print(found)
    print(found.save(Path(options.folder).expanduser() / "certificate.json"))
    return 0


def _runs(options: argparse.Namespace) -> int:
    """Print the table of saved runs."""
    from evolab.reporting.comparison.listing import runs

    table = runs(options.folder)
    if not len(table):
        print(f"no saved run below {options.folder}")
        return 0
    shown = table[["run", "environment", "algorithm", "best_fitness", "elite_fitness", "generation"]].copy()
    shown["steps"] = [f"{steps:,}" for steps in table["total_steps"]]
    shown["time"] = [_clock(seconds) for seconds in table["seconds"]]
    shown["saved"] = table["saved"]
    names = {"best_fitness": "best", "elite_fitness": "elite"}
    print(shown.rename(columns=names).to_string(index=False, float_format="{:.1f}".format, na_rep="-"))
    return 0


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> _clock(3725.4)
    '1:02:05'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _add_goals(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--generations", type=int, metavar="N", help="stop after so many generations")
    parser.add_argument("--max-steps", type=int, metavar="N", help="stop at so many training steps in total")
    parser.add_argument("--minutes", type=float, metavar="T", help="stop after so much time")
    parser.add_argument(
        "--target", type=float, metavar="R", help="stop when the best averages R over 20 episodes"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the results (default: one under runs/)"
    )


def _demo(options: argparse.Namespace) -> tuple[Path, Experiment, dict[str, Any]]:
    """The experiment of `evolab demo`, filled and ready."""
    from evolab.algorithms.search_space import algorithm_named
    from evolab.experiment import presets
    from evolab.experiment.experiment import Experiment

    algorithm = algorithm_named(options.algorithm)
    environment = options.env or ENVIRONMENTS.get(algorithm.name)
    if environment is None:
        raise ValueError(f"the demo knows no environment for {algorithm.name}. Name one with --env.")
    goals = {name: getattr(options, name) for name in GOALS}
    _check_goals(goals)
    preset = presets.demo(algorithm.name, environment)
    settings = {"algorithm": algorithm, "target": preset.target, **preset.options}
    settings["buffer"] = preset.capacity
    for name in ("population", "steps_per_generation", "target", "device"):
        if getattr(options, name) is not None:
            settings[name] = getattr(options, name)
    folder = _folder(options.out, f"{environment.replace('/', '-')}-{algorithm.name}-seed{options.seed}")
    experiment = Experiment(environment, seed=options.seed, folder=folder, **settings)
    if not algorithm.on_policy:
        experiment.fill(preset.fill)
    if not any(goals.values()):
        goals["max_steps"] = preset.max_steps
    return folder, experiment, goals


def _run(options: argparse.Namespace) -> tuple[Path, Experiment, dict[str, Any]]:
    """The experiment of `evolab run`, filled and ready."""
    from evolab.core import checks
    from evolab.experiment.conversions import read
    from evolab.experiment.experiment import Experiment

    place = Path(options.config)
    settings = {} if place.is_dir() else read(place)
    goals: dict[str, Any] = {"fill": 1_000, **dict.fromkeys(GOALS), "target": settings.get("target")}
    section = settings.pop("run", None) or {}
    for name, value in section.items():
        if name not in goals:
            raise checks.unknown("option of the section run", name, goals)
        goals[name] = value
    for name in goals:
        if getattr(options, name) is not None:
            goals[name] = getattr(options, name)
    if isinstance(goals["fill"], str) and goals["fill"].isdecimal():
        goals["fill"] = int(goals["fill"])
    if place.is_dir():
        experiment = Experiment.load(place)
        experiment.folder = place  # one saved by hand is kept by itself from now on
        if goals["target"] is not None:
            experiment.target = float(goals["target"])
        goals["target"] = experiment.target
    if all(goals[name] is None for name in (*GOALS, "target")):
        raise ValueError(
            "a run needs a goal: --generations 20, --max-steps 300000, --minutes 10 or --target 200."
        )
    _check_goals(goals)
    target, source = goals.pop("target"), goals.pop("fill")
    if place.is_dir():
        if goals["generations"] is not None:
            goals["generations"] += experiment.generation
        return place, experiment, goals
    folder = _folder(options.out, place.stem)
    experiment = Experiment.from_config({**settings, "target": target}, folder=folder)
    try:
        if not experiment.algorithm.on_policy:
            experiment.fill(source)
    except MISTAKES:
        experiment.close()
        with contextlib.suppress(OSError):
            folder.rmdir()  # nothing was learnt, so nothing is kept
        raise
    return folder, experiment, goals


def _check_goals(goals: Mapping[str, Any]) -> None:
    from evolab.core import checks

    for name in GOALS:
        if goals[name] is not None:
            check = checks.positive if name == "minutes" else checks.positive_integer
            check(name, goals[name])


def _folder(given: Path | None, name: str) -> Path:
    """A folder for the run that is not in use."""
    folder = given
    if folder is None:
        folder, number = Path("runs") / name, 1
        while folder.exists():
            number += 1
            folder = Path("runs") / f"{name}-{number}"
    elif folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty. Name another folder with --out, or empty it.")
    return folder


def _train(
    experiment: Experiment,
    folder: Path,
    generations: int | None,
    max_steps: int | None,
    minutes: float | None,
) -> int:
    """Train until a goal is met or Ctrl-C, one line per generation; then write the results."""
    from evolab.experiment.results import write_results

    print(experiment)
    print(
        COLUMNS.format("gen", "steps", "best", "mean", "confirmed", "agent", "hidden", "seconds", "children")
    )
    code, end = 0, None if minutes is None else time.monotonic() + 60 * minutes
    try:
        while not _reached(experiment, generations, max_steps):
            left = None if end is None else (end - time.monotonic()) / 60
            ended = experiment.generation
            if left is None or left > 0:
                experiment.run(generations=1, max_steps=max_steps, minutes=left)
            if experiment.generation == ended:
                print(f"{minutes:g} minutes are over")
                break
            _print_generation(experiment.history.generations[-1])
    except KeyboardInterrupt:
        print("interrupted; writing what there is", file=sys.stderr)
        code = INTERRUPTED
    finally:
        try:
            if experiment.history.generations:
                write_results(experiment, folder)
        finally:
            experiment.close()
    return code


def _reached(experiment: Experiment, generations: int | None, max_steps: int | None) -> bool:
    if not experiment.history.generations:
        return False
    confirmed = experiment.history.generations[-1].confirmed
    if experiment.target is not None and confirmed is not None and confirmed >= experiment.target:
        print(f"target reached: {confirmed:.1f} over fresh episodes")
        return True
    if generations is not None and experiment.generation >= generations:
        return True
    return max_steps is not None and experiment.total_steps >= max_steps


def _print_generation(generation: Generation) -> None:
    finite = [one.fitness for one in generation.evaluations if one.fitness == one.fitness]
    mean = sum(finite) / len(finite) if finite else float("nan")
    best = generation.best
    print(
        COLUMNS.format(
            generation.number,
            f"{generation.total_steps:,}",
            f"{best.fitness:.1f}",
            f"{mean:.1f}",
            "" if generation.confirmed is None else f"{generation.confirmed:.1f}",
            best.agent,
            "x".join(map(str, best.hidden)),
            f"{sum(generation.seconds.values()):.1f}",
            ", ".join(birth.kind for birth in generation.births),
        ),
        flush=True,
    )


if __name__ == "__main__":
    raise SystemExit(main())
