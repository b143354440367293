"""The command line: `evolab solve` finds an agent for an environment, `evolab run` trains what a file configures.

Mistakes of the user (an unknown environment, a bad option, a folder that is taken) end with one
line and exit code 2 before any time is spent; errors while training keep their traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path

DEMO = "LunarLanderContinuous-v3"
INTERRUPTED, CLOSED_PIPE = 130, 141
"""Exit codes of a process that SIGINT or SIGPIPE has ended, as shells have them."""

MISTAKES = (ValueError, TypeError, ImportError, LookupError, OSError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Args:
        arguments: the words after `evolab`; None for the process's own.
    """
    _open_streams()
    try:
        code = _obey(_parser().parse_args(arguments))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output, such as `head`, has enough
        _silence()
        return CLOSED_PIPE
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        _silence()  # it was the output that could not be written
        print(f"evolab: the output can't be written: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return code


def _open_streams() -> None:
    """Have somewhere to write to where the shell has closed an output."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # as long as the process


def _silence() -> None:
    """What is left to write must not fail once more at the exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _obey(options: argparse.Namespace) -> int:
    if options.command is None:
        _parser().print_help()
        return 0
    try:
        if callable(options.command):
            return int(options.command(options))
        from evolab.experiment.command_line import experiments, output

        folder, experiment, goals = getattr(experiments, options.command)(options)
    except BrokenPipeError:
        raise
    except MISTAKES as error:
        print(f"evolab: {error}", file=sys.stderr)
        return 2
    return output.train(experiment, folder, INTERRUPTED, **goals)


def _parser() -> argparse.ArgumentParser:
    import evolab
    from evolab.experiment.sweeps import command as sweeps

    parser = argparse.ArgumentParser(
        prog="evolab",
        description="Evolve populations of reinforcement-learning agents.",
        epilog="A run is kept in a folder that `evolab run FOLDER` goes on with: the newest generations and the "
        "best one, elite/ (the best agent that fresh episodes confirmed), history/, config.yaml and rollout.gif.",
    )
    parser.add_argument("--version", action="version", version=f"evolab {evolab.__version__}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    solve = commands.add_parser(
        "solve",
        help="find an agent for an environment; nothing else has to be said",
        description="Evolve a population in an environment until its best agent averages the target over 100 fresh "
        "episodes. Algorithm, population, hyperparameters and the rest follow from the environment.",
        epilog="examples:\n  evolab solve CartPole-v1\n  evolab solve my_envs:Warehouse-v0 --target 30 --minutes 10\n"
        "  evolab solve data.h5 --generations 5",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    solve.add_argument("env", metavar="ENV", help="a Gymnasium id, or the path of recorded data")
    demo = commands.add_parser(
        "demo",
        help=f"solve {DEMO}",
        description=f"`evolab solve {DEMO}`, to look at.",
    )
    demo.set_defaults(env=DEMO)
    for command in (solve, demo):
        command.add_argument("--algorithm", help="such as SAC (default: what suits the action space)")
        command.add_argument("--population", type=int, metavar="P", help="agents to begin with")
        command.add_argument("--seed", type=int, help="of everything (default: a fresh one)")
        command.add_argument("--device", help="auto, cpu or cuda (default: auto)")
        _add_goals(command)
        command.set_defaults(command="solve")

    run = commands.add_parser(
        "run",
        help="train from a configuration file, or go on with a run",
        description="Train from a .yaml or .json file that holds what `exp.config` shows. A section `run:` "
        "may name fill, generations, max_steps, minutes and target; the options below win over it. "
        "Given the folder of a run, go on where it stopped.",
    )
    run.add_argument("config", help="path of the configuration, or of a run's folder")
    run.add_argument(
        "--fill", metavar="N|DATA", help="random environment steps, or a data file, to begin with"
    )
    _add_goals(run)
    run.set_defaults(command="run")

    sweeps.add_to(commands, _add_goals)

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

    parts = commands.add_parser(
        "parts", help="list algorithms, networks and other parts, those of other packages too"
    )
    parts.set_defaults(command=_parts)

    board = commands.add_parser(
        "board",
        help="watch runs in a browser while they train",
        description="Serve one local page with the dashboard of all runs below a folder: a table that fills while they "
        "train, curves, settings against fitness, and each run's own dashboard. It listens on this machine alone, "
        "its address holds a token, and it only reads. Ctrl-C ends it.",
        epilog="On a server: ssh -L 8765:127.0.0.1:8765 SERVER, and open the printed address on your own machine.",
    )
    board.add_argument("folder", nargs="?", default="runs", help="of runs, or of one run (default: runs)")
    board.add_argument("--port", type=int, metavar="N", help="default: 8765, or the next one that is free")
    board.add_argument("--open", action="store_true", help="open it in this machine's browser")
    board.set_defaults(command=_board)

    docs = commands.add_parser(
        "docs",
        help="build the documentation and open it",
        description="Build the documentation from its sources, without a network, and open it in a browser. "
        'Needs Sphinx: pip install "evolab[docs]".',
    )
    docs.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the pages (default: in the user's cache)"
    )
    docs.add_argument("--no-open", action="store_true", help="build only, and say where the first page is")
    docs.add_argument("--strict", action="store_true", help="fail on a broken link or a missing docstring")
    docs.set_defaults(command=_docs)
    return parser


def _board(options: argparse.Namespace) -> int:
    """Serve the dashboard of runs until Ctrl-C."""
    from evolab.reporting.dashboard_server.server import DashboardServer

    server = DashboardServer(Path(options.folder).expanduser(), options.port)
    print(f"the dashboard of {options.folder}: {server.url}", flush=True)
    print("it only reads; Ctrl-C ends it", flush=True)
    if options.open:
        import webbrowser

        webbrowser.open(server.url)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve()
    return 0


def _docs(options: argparse.Namespace) -> int:
    """Build the pages, say where they are, and open them."""
    from evolab.reporting import documentation

    first = documentation.build(options.out, strict=options.strict)
    print(first, flush=True)
    if not options.no_open and not documentation.show(first):
        print("no browser was found; open this file in one", file=sys.stderr)
    return 0


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
    from evolab.history.display import ticked
    from evolab.reporting.comparison.listing import runs

    table = runs(options.folder)
    if not len(table):
        print(f"no saved run below {options.folder}")
        return 0
    shown = table[["run", "environment", "algorithm", "best_fitness", "elite_fitness", "generation"]].copy()
    evaluation = table["evaluation_steps"].fillna(0).astype(int)
    shown["steps"] = [f"{steps:,}" for steps in table["total_steps"] + evaluation]
    shown["of eval"] = [f"{steps:,}" for steps in evaluation]
    shown["time"] = [_clock(seconds) for seconds in table["seconds"]]
    shown["saved"] = table["saved"]
    shown["elite_fitness"] = ["-" if known != known else ticked(known) for known in table["elite_fitness"]]
    names = {"best_fitness": "best", "elite_fitness": "confirmed"}
    print(shown.rename(columns=names).to_string(index=False, float_format="{:.1f}".format, na_rep="-"))
    return 0


def _parts(options: argparse.Namespace) -> int:
    """Print every part by its kind and name, with what it says of itself."""
    from evolab.core import registry

    for kind in registry.PARTS:
        for name in registry.names(kind):
            about = (registry.part(kind, name).__doc__ or "").strip().partition("\n")[0]
            print(f"{kind:12}{name:15}{about}")
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
    parser.add_argument(
        "--max-steps", type=int, metavar="N", help="stop at so many environment steps, evaluation included"
    )
    parser.add_argument("--minutes", type=float, metavar="T", help="stop after so much time")
    parser.add_argument(
        "--target",
        type=float,
        metavar="R",
        help="stop when the best averages R over 100 fresh episodes (default of solve: the environment's threshold)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the results (default: one under runs/)"
    )


if __name__ == "__main__":
    raise SystemExit(main())
