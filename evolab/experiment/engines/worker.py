"""Host: advances runs in one process, whichever engine asks, and keeps the experiment that it advanced last."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import socket
import traceback
from collections.abc import Iterator
from dataclasses import replace

import torch

from evolab.core.plain_values import from_plain
from evolab.core.processors import described
from evolab.data.buffers.replay import ReplayBuffer
from evolab.experiment.engines.migration import best_of, send, transitions_of
from evolab.experiment.engines.orders import Order, Report
from evolab.experiment.experiment import Experiment
from evolab.networks.kernels.build import library
from evolab.storage import lock
from evolab.storage.folders import recover
from evolab.storage.outage import is_away, wait_for
from evolab.training.generation_folders import ABOUT
from evolab.training.loop import affords
from evolab.training.run_folder import RunFolder


class Host:
    """A worker.

    Args:
        room: experiments that are kept open at once, so that they need not be loaded for their next epoch.
    """

    def __init__(self, room: int = 1) -> None:
        self._room = room
        self._open: dict[str, Experiment] = {}
        self._stopped = False

    def advance(self, order: Order) -> Report:
        """Carry out an order; what breaks it off is in the report.

        Raises:
            InUse: another worker has it.
            KeyboardInterrupt: at the next step of the environments; the run stands at its newest checkpoint.
        """
        known = Report.read(order.home, order.run)
        if known.met(order.goals) or (known.epoch >= order.epoch and known.over is None):
            return known
        try:
            with _threads(order.threads), lock.beating(order.folder):
                return self._advance(order, known)
        except lock.InUse:
            self.drop(order.run)
            raise
        except Exception as error:  # a run that fails is reported, and the others go on
            self.drop(order.run)
            return self._broken_off(order, error)
        except KeyboardInterrupt:
            self.close()
            known = Report.read(order.home, order.run)
            if known.over is None:  # whoever stops a run does not count as a failure of it
                replace(known, begun=max(0, known.begun - 1)).write(order.home)
            raise

    def _advance(self, order: Order, known: Report) -> Report:
        experiment = self._open.get(order.run)
        if experiment is not None and order.inbox is not None and experiment.generation != order.beginning:
            self.drop(order.run)
            experiment = None
        order.folder.mkdir(exist_ok=True)
        if order.take:
            lock.break_open(order.folder)
        lock.acquire(order.folder)
        known = replace(known, begun=known.begun + 1, error="", trace="", worker=_me())
        if known.failed(order.retries):
            known = replace(known, error=f"its worker was lost {known.begun - 1} times in a row")
            known.write(order.home)
            lock.release(order.folder)
            return known
        known.write(order.home)
        if experiment is None:
            experiment = self._opened(order)
        over = _over(experiment, order)
        for giver, generation in () if over else order.inbox or ():
            asks = best_of(order.home / giver, generation, experiment.population)
            experiment.invite(replace(asks, weights_alone=giver in order.faster))
            if order.transitions and isinstance(experiment.buffer, ReplayBuffer):
                experiment.buffer.take_in(transitions_of(order.home / giver, generation))
        if over is None and experiment.generation < order.generation:
            goals, left = order.goals, None
            if goals.minutes is not None:
                left = goals.minutes - _seconds(experiment) / 60
            if affords(experiment._state, goals.max_steps, left):
                experiment.run(
                    order.generation - experiment.generation,
                    max_steps=goals.max_steps,
                    target=goals.target,
                    minutes=left,
                    callback=lambda _: self._stopped,
                )
            if self._stopped and experiment.generation < order.generation:
                raise KeyboardInterrupt
            short = experiment.generation < order.generation
            over = _over(experiment, order) or (_budget(experiment, order) if short else None)
        self._settle(experiment, order)
        report = _report(experiment, order, known, over)
        if order.sends:
            send(order.folder, experiment.generation, experiment.buffer, order.transitions)
        report.write(order.home)
        if over is not None:
            self.drop(order.run)
        return report

    def _settle(self, experiment: Experiment, order: Order) -> None:
        """Before a report: what it says is on the disk, and the run is still this worker's.

        Raises:
            InUse: another worker has taken the run, since this one stood still for long.
            OSError: the newest checkpoint cannot be written.
        """
        if experiment._checkpointer.problem is not None:  # training went on without it
            self._wait(order)
            experiment.save()
        lock.acquire(order.folder)

    def _broken_off(self, order: Order, error: Exception) -> Report:
        """The report of a failure, written down; what storage did that was away is none of the run's."""
        was_away = is_away(order.mark, written=True)
        self._wait(order)
        known = Report.read(order.home, order.run)
        said = str(error).strip().split("\n")[0]
        words = f"{type(error).__name__}: {said}" if said else type(error).__name__
        begun = max(0, known.begun - 1) if was_away else known.begun
        trace = "".join(traceback.format_exception(error, limit=-12))
        report = replace(known, error=words, begun=begun, trace=trace)
        report.write(order.home)
        return report

    def _wait(self, order: Order) -> None:
        wait_for(order.mark, written=True, given_up=lambda: self._stopped)
        if self._stopped:
            raise KeyboardInterrupt

    def _opened(self, order: Order) -> Experiment:
        """The run where its newest checkpoint stands, or from its beginning."""
        while len(self._open) >= self._room:
            self.drop(next(iter(self._open)))
        own = {name: order.own[name] for name in order.own}
        place = RunFolder(order.folder)
        for number in place.numbers():
            recover(place.generation(number))
        # Runs that speak to each other begin an epoch where the others did; checkpoints in between do not count.
        begins = order.beginning if order.inbox is not None else None
        if place.numbers() and begins != 0:
            experiment = Experiment.load(order.folder, generation=begins, progress=False, **own)
            experiment.folder = order.folder
        else:
            # What a worker left that was killed before its first checkpoint, or what was before it.
            for entry in order.folder.iterdir():
                if entry.is_dir():
                    shutil.rmtree(entry)
                elif entry.name == ABOUT:
                    entry.unlink()
            options = {name: from_plain(value) for name, value in order.options.items()}
            experiment = Experiment(**{**options, **own, "folder": order.folder, "progress": False})
            if order.goals.fill is not None and experiment.algorithm.takes_others_experience:
                experiment.fill(order.goals.fill)
        self._open[order.run] = experiment
        return experiment

    def stop(self, stopped: bool = True) -> None:
        """Break off the order under way, from another thread, with KeyboardInterrupt; False permits the next one."""
        self._stopped = stopped
        for experiment in list(self._open.values()) if stopped else ():
            experiment.stop()

    def holds(self, run: str) -> bool:
        """True where a run is open here."""
        return run in self._open

    def drop(self, run: str) -> None:
        """Close a run; it goes on from its newest checkpoint when it is asked for again."""
        experiment = self._open.pop(run, None)
        if experiment is not None:
            experiment.close()

    def close(self) -> None:
        """Close all runs."""
        for run in list(self._open):
            self.drop(run)


def _over(experiment: Experiment, order: Order) -> str | None:
    """The goal that is met; None where none is."""
    goals, ended = order.goals, experiment.history.generations
    if not ended:
        return None
    if goals.target is not None and experiment.solved:
        return "target"
    if goals.generations is not None and experiment.generation >= goals.generations:
        return "generations"
    steps = experiment.total_steps + experiment.evaluation_steps
    if goals.max_steps is not None and steps >= goals.max_steps:
        return "max_steps"
    if goals.minutes is not None and _seconds(experiment) >= 60 * goals.minutes:
        return "minutes"
    return None


def _budget(experiment: Experiment, order: Order) -> str | None:
    """The budget that ended a run early; one of steps may end it with less than an evaluation left."""
    goals, steps = order.goals, experiment.total_steps + experiment.evaluation_steps
    spent = {
        "max_steps": 0.0 if goals.max_steps is None else steps / goals.max_steps,
        "minutes": 0.0 if goals.minutes is None else _seconds(experiment) / (60 * goals.minutes),
    }
    name = max(spent, key=lambda one: spent[one])
    return name if spent[name] else None


def _seconds(experiment: Experiment) -> float:
    return sum(sum(one.seconds.values()) for one in experiment.history)


def _report(experiment: Experiment, order: Order, known: Report, over: str | None) -> Report:
    finite = [one.fitness for one in experiment.history if math.isfinite(one.fitness)]
    hall = experiment._state.hall  # what is known of the elite now, which more episodes may have lowered
    return Report(
        run=order.run,
        epoch=order.epoch,
        generation=experiment.generation,
        total_steps=experiment.total_steps,
        evaluation_steps=experiment.evaluation_steps,
        best=max(finite, default=None),
        confirmed=hall.fitness if hall.episodes else None,
        seconds=_seconds(experiment),
        over=over,
        goals=order.goals.plain,
        begun=0,  # this beginning has led somewhere
        worker=known.worker,
        newest=experiment.history.generations[-1].fitness if experiment.history.generations else None,
        processor=described() + (" with kernels" if library(torch.float32) is not None else ""),
    )


def _me() -> str:
    return f"{os.getpid()} on {socket.gethostname()}"


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Inside, torch uses so many threads: sums are then in the same order in every engine."""
    before = torch.get_num_threads()
    if before == count:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
