"""Training on the command line: a line per generation, and how it ended."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from evolab.experiment.command_line.results import write_results
from evolab.experiment.experiment import Experiment
from evolab.history.events import Generation

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
    code, end = 0, None if minutes is None else time.monotonic() + 60 * minutes
    try:
        while not _reached(experiment, generations, max_steps):
            left = None if end is None else (end - time.monotonic()) / 60
            ended = experiment.generation
            if left is None or left > 0:
                experiment.run(generations=1, max_steps=max_steps, minutes=left)
            if experiment.generation == ended:
                over = left is not None and (left <= 0 or max_steps is None)
                print(
                    f"{minutes:g} minutes are over"
                    if over
                    else "the steps that are left are too few for an evaluation"
                )
                break
            _print_generation(experiment.history.generations[-1])
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
    print(
        COLUMNS.format(
            generation.number,
            f"{generation.total_steps + generation.evaluation_steps:,}",
            f"{generation.evaluation_steps:,}",
            f"{best.fitness:.1f}",
            f"{mean:.1f}",
            "" if generation.confirmed is None else f"{generation.confirmed:.1f}",
            len(generation.evaluations),
            best.agent,
            "x".join(map(str, best.hidden)),
            f"{sum(generation.seconds.values()):.1f}",
        ),
        flush=True,
    )
