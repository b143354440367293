"""Training on the command line: a line per generation, and how it ended."""

from __future__ import annotations

import sys
from pathlib import Path

from evolab.experiment.command_line.results import write_results
from evolab.experiment.experiment import Experiment
from evolab.history.display import ticked
from evolab.history.events import Generation
from evolab.reporting.progress import write_line

COLUMNS = "{:>4} {:>9} {:>9} {:>9} {:>9} {:>10} {:>6} {:>6}  {:<12} {:>7}"


def train(
    experiment: Experiment,
    folder: Path,
    interrupted: int,
    generations: int | None,
    max_steps: int | None,
    minutes: float | None,
) -> int:
    """Train until a goal is met or Ctrl-C, one line per generation; then write the results.

    Args:
        experiment: that is closed at the end.
        folder: of the results.
        interrupted: the exit code after Ctrl-C.
        generations: as `Experiment.run` takes them, as the following.
        max_steps: likewise.
        minutes: likewise.

    Returns:
        the exit code.
    """
    print(experiment.summary)
    print(
        COLUMNS.format(
            "gen", "steps", "of eval", "best", "mean", "confirmed", "agents", "agent", "hidden", "seconds"
        )
    )
    code, begun = 0, experiment.generation
    try:
        if not (begun and experiment.solved):
            left = None if generations is None else generations - begun
            experiment.run(left, max_steps=max_steps, minutes=minutes, callback=_print_generation)
            if not _reached(experiment, generations, max_steps):
                few = "the steps that are left are too few for an evaluation"
                print(few if experiment._state.spent == "max_steps" else f"{minutes:g} minutes are over")
    except KeyboardInterrupt:
        print("interrupted; writing what there is", file=sys.stderr)
        code = interrupted
    finally:
        try:
            if experiment.history.generations:
                print(_told(experiment))
                write_results(experiment, folder)
        finally:
            experiment.close()
    return code


def _reached(experiment: Experiment, generations: int | None, max_steps: int | None) -> bool:
    if not experiment.history.generations:
        return False
    if experiment.solved:
        return True
    if generations is not None and experiment.generation >= generations:
        return True
    return max_steps is not None and experiment.total_steps + experiment.evaluation_steps >= max_steps


def _told(experiment: Experiment) -> str:
    """How it ended, with all its steps."""
    training, evaluation = experiment.total_steps, experiment.evaluation_steps
    steps = f"{training + evaluation:,} steps (training {training:,}, evaluation {evaluation:,})"
    known = experiment.record
    if experiment.target is None:
        return f"after {steps}: {known}"
    return f"target {experiment.target:g} {'reached' if experiment.solved else 'not reached'} in {steps}: {known}"


def _print_generation(generation: Generation) -> None:
    finite = [one.fitness for one in generation.evaluations if one.fitness == one.fitness]
    mean = sum(finite) / len(finite) if finite else float("nan")
    best = generation.best
    write_line(
        COLUMNS.format(
            generation.number,
            f"{generation.total_steps + generation.evaluation_steps:,}",
            f"{generation.evaluation_steps:,}",
            f"{best.fitness:.1f}",
            f"{mean:.1f}",
            ticked(generation.confirmed),
            len(generation.evaluations),
            best.agent,
            "x".join(map(str, best.hidden)),
            f"{sum(generation.seconds.values()):.1f}",
        )
    )
