"""Directives: `measured` draws committed measurements, `picture` shows a drawing, two more make tables from the code.

    ```{measured} solved
    ```

A chart is drawn from `tests/benchmarks/results/` when the pages are built, so that no figure on a page can differ
from what was measured.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from drawing import lines, number, values

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "tests" / "benchmarks" / "results"
TUNED = {
    "CartPole-v1": 30_000,
    "Acrobot-v1": 20_000,
    "MountainCar-v0": 100_000,
    "MountainCarContinuous-v0": 20_000,
    "Pendulum-v1": 10_000,
    "LunarLanderContinuous-v3": 50_000,
    "HalfCheetah-v5": 80_000,
    "LunarLander-v3": 80_000,
    "BipedalWalker-v3": 170_000,
    "Hopper-v5": 150_000,
}
"""Steps of a tuned single run, as `tests/benchmarks/hpo_tasks.py` has them; a test compares."""


def read(name: str) -> Any:
    """A committed result."""
    text = (RESULTS / name).read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()] if name.endswith(".jsonl") else json.loads(text)


def solved(*tasks: str) -> str:
    """All steps until the target, by task."""
    runs = [run for run in read("hpo/runs.jsonl") if run["arm"] == "evolab"]
    named = tasks or tuple(dict.fromkeys(run["task"] for run in runs))
    rows = {task: [run["steps"] for run in runs if run["task"] == task and run["steps"]] for task in named}
    rows = {task: row for task, row in rows.items() if row}  # the table names those that no run solved
    told = "; ".join(f"{task}: {', '.join(map(str, row))}" for task, row in rows.items())
    marks = {task: TUNED[task] for task in rows if task in TUNED}
    return values(rows, "all environment steps until the target", True, marks, f"Steps to the target. {told}")


def cost(algorithm: str) -> str:
    """What an update costs each agent, over the size of the population."""
    rows = [one for one in read("updates.json")["updates"] if one["algorithm"] == algorithm]
    rows = [one for one in rows if one["batch"] == 128]
    series = {
        f"two layers of {hidden}": [
            (one["agents"], one["microseconds_per_agent"]) for one in rows if one["hidden"] == hidden
        ]
        for hidden in (64, 256)
    }
    said = f"{algorithm}: microseconds of an update of each agent, at 1, 4, 16 and 64 agents"
    return lines(series, "agents", "µs per agent", True, said)


def catch() -> str:
    """Curves of DQN from images."""
    seeds = read("catch.json")["seeds"]
    series = {f"seed {one['seed']}": [(step, best) for step, best, _ in one["curve"]] for one in seeds}
    return lines(series, "environment steps", "best fitness", said="Fitness of the best agent in Catch")


def hindsight() -> str:
    """Goals that are met with hindsight and without."""
    rows = {
        f"{task}, {'hindsight' if float(share) else 'without'}": [one["met"] for one in runs]
        for task, known in read("hindsight.json")["tasks"].items()
        for share, runs in known["shares"].items()
    }
    return values(
        rows, "share of goals that are met", said="Goals met with hindsight and without, three seeds"
    )


def rainbow(task: str) -> str:
    """Each of Rainbow's parts alone, and all of them."""
    known = read("rainbow.json")["tasks"][task]
    rows = {part: [mean(curve) for curve in one["curves"]] for part, one in known.items()}
    return values(rows, "mean return over the run, greedy episodes", said=f"Parts of Rainbow in {task}")


def steady(name: str) -> str:
    """Steps until the target with the settings of `precision.json`."""
    known = read("precision.json")["solved"][name]["float32"]
    rows = {name: [one["steps"] for one in known.values()]}
    return values(rows, "environment steps until the target", said=f"Steps to the target of {name}")


def narrow() -> str:
    """CQN beside double DQN on data of one expert."""
    known = read("offline_narrow.json")
    rows = {
        "the data": [known["data mean return"]],
        "CQN": known["cql_alpha 1"],
        "double DQN": known["cql_alpha 0"],
    }
    return values(rows, "mean return of 100 fresh episodes", said="CartPole from an expert's data")


def chance() -> str:
    """CQN from random data."""
    known = read("offline_random.json")["runs"]
    rows = {"CQN, evolved": [one["elite mean of 100"] for one in known]}
    return values(rows, "mean return of 100 fresh episodes", said="CartPole from random data, five seeds")


def td3bc() -> str:
    """TD3BC beside its teacher and a clone."""
    known = read("offline_td3bc.json")
    rows = {
        "the data": [known["data mean return"]],
        "behaviour cloning": known["behaviour cloning"],
        "TD3BC": known["TD3+BC"],
    }
    return values(rows, "mean return", said="Pendulum from a clumsy controller's data, three seeds")


def walks() -> str:
    """BC and ILQL on random walks."""
    runs = read("language_walks.json")["runs"]
    rows = {
        name: [one[key] for one in runs]
        for name, key in (("the data", "data"), ("BC", "BC"), ("ILQL", "ILQL"))
    }
    return values(rows, "optimality of the walks, 1 the shortest", said="Random walks, three seeds")


def words() -> str:
    """ILQL in the word game, by its support."""
    seeds = [read(f"language_values_{seed}.json")["means"]["guesses"] for seed in range(3)]
    series = {
        f"seed {seed}": [(float(support), value) for support, value in means.items() if float(support)]
        for seed, means in enumerate(seeds)
    }
    levels = list(series.values())
    series["their mean"] = [(x, mean(line[i][1] for line in levels)) for i, (x, _) in enumerate(levels[0])]
    return lines(series, "support", "mean return", said="Word game by the support of ILQL, three seeds")


def game() -> str:
    """The word game, all players."""
    known = read("language_paired.json")
    scripted = known["scripted players"]
    rows = {
        "the data": [known["data"]],
        "BC": known["BC, by whole guesses"],
        "ILQL": known["ILQL, by whole guesses"],
        "script: consistent": [scripted["consistent"]],
        "script: information": [scripted["information"]],
    }
    return values(rows, "mean return over 100 words", said="Returns in the word game, three seeds")


def peers() -> str:
    """Steps a second beside two other libraries."""
    loop = read("peers.json")["one thread"]["loop"]
    names = {
        "evolab": "evolab",
        "evolab, same architecture": "evolab, AgileRL's network",
        "AgileRL": "AgileRL",
        "SB3, same widths": "SB3, its network's widths ours",
        "SB3": "SB3",
    }
    names |= {"SB3, same widths": "SB3, evolab's widths"}
    rows = {label: [one["steps_per_second"][key] for one in loop] for key, label in names.items()}
    return values(
        rows, "environment steps a second: 4, 16 and 64 agents", True, said="TD3's loop, one thread"
    )


def wide() -> str:
    """How many times faster updates of wide networks are than Stable-Baselines3's."""
    rows = read("peer_updates.json")["updates"]
    found = {
        f"{one['algorithm']}, {one['agents']} agent{'s' if one['agents'] > 1 else ''}": [one["times_faster"]]
        for one in rows
    }
    goals = {name: one["goal"] for name, one in zip(found, rows, strict=True)}
    told = "; ".join(f"{name}: {value[0]}" for name, value in found.items())
    said = f"Times as fast as Stable-Baselines3. {told}"
    return values(found, "times as fast as Stable-Baselines3", marks=goals, said=said)


def two_cores() -> str:
    """How many times faster updates are on two cores."""
    found: dict[str, list[float]] = {}
    for one in read("updates.json")["on_threads"]:
        found.setdefault(f"{one['algorithm']}, 2x{one['hidden']}", []).append(one["times_faster"])
    told = "; ".join(f"{name}: {', '.join(map(str, each))}" for name, each in found.items())
    return values(found, "times as fast on two cores", said=f"At 4 and 16 agents. {told}")


def avx2() -> str:
    """Shares of the matrix product that updates reach, compiled for AVX2."""
    rows = read("updates_x86-64-v3.json")["updates"]
    found: dict[str, list[float]] = {}
    for one in rows:
        if one["batch"] == 128 and one["agents"] in (4, 16):
            found.setdefault(f"{one['algorithm']}, 2x{one['hidden']}", []).append(100 * one["share_of_gemm"])
    told = "; ".join(f"{name}: {', '.join(f'{each:.0f}' for each in row)}" for name, row in found.items())
    return values(found, "% of the matrix product", said=f"At 4 and 16 agents, in per cent. {told}")


CHARTS: dict[str, Callable[..., str]] = {
    one.__name__: one
    for one in (
        solved,
        cost,
        catch,
        hindsight,
        rainbow,
        steady,
        narrow,
        chance,
        td3bc,
        walks,
        words,
        game,
        peers,
        wide,
        two_cores,
        avx2,
    )
}


class Measured(Directive):
    """A chart of committed results; its content is the caption."""

    required_arguments, has_content = 1, True
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """The chart, as markup."""
        name, *words = [word.strip() for word in self.arguments[0].split(",")]
        chart = CHARTS[name](*words)
        return framed(self, chart)


class Picture(Directive):
    """A drawing of `figures/`, put into the page so that it has the page's colours."""

    required_arguments, has_content = 1, True

    def run(self) -> list[nodes.Node]:
        """The drawing, as markup."""
        path = HERE / "figures" / f"{self.arguments[0]}.svg"
        self.state.document.settings.record_dependencies.add(str(path))
        return framed(self, path.read_text("utf-8"))


class Commands(Directive):
    """What `evolab COMMAND --help` says, of every command."""

    def run(self) -> list[nodes.Node]:
        """A section's text for each command."""
        from evolab.__main__ import _parser

        parser = _parser()
        parser.formatter_class = argparse.HelpFormatter
        actions = next(one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
        helps = {one.dest: one.help for one in actions._choices_actions}
        made: list[nodes.Node] = []
        for name, command in actions.choices.items():
            title = nodes.rubric("", f"evolab {name}")
            body = command.format_help()
            said = nodes.paragraph("", (helps.get(name) or "").capitalize() + ".")
            made += [title, said, nodes.literal_block(body, body, language="text")]
        return made


class Hyperparameters(Directive):
    """The hyperparameters of an algorithm, as `ev.search_space` gives them."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """A table."""
        import evolab

        rows = [("name", "default", "evolves", "what it does, and why it evolves or does not")]
        for one in evolab.search_space(self.arguments[0]).to_dict("records"):
            said = f"{one['text']}: {one['reason']}" if one["reason"] else one["text"]
            rows.append((one["name"], f"{one['default']:g}", one["range"] or "no", said))
        return [table(rows, (16, 8, 22, 54))]


class SolvedTable(Directive):
    """The runs of `solved` in numbers."""

    def run(self) -> list[nodes.Node]:
        """A table."""
        runs = [run for run in read("hpo/runs.jsonl") if run["arm"] == "evolab"]
        head = (
            "task, target, solved, median of all steps, least and most, median CPU seconds, tuned single run"
        )
        rows = [tuple(head.split(", "))]
        for task in dict.fromkeys(run["task"] for run in runs):
            own = [run for run in runs if run["task"] == task]
            steps = sorted(run["steps"] for run in own if run["steps"])
            ends = "none" if not steps else " to ".join(dict.fromkeys((number(steps[0]), number(steps[-1]))))
            middle_of_all = median(
                run["steps"] or math.inf for run in own
            )  # a run that ended before takes longer
            middle = number(middle_of_all) if math.isfinite(middle_of_all) else "not half solved"
            seconds = f"{median(run['spent_cpu_seconds'] for run in own):.0f}"
            tuned = number(TUNED[task]) if task in TUNED else "none"
            cells = (
                task,
                f"{own[0]['target']:g}",
                f"{len(steps)} of {len(own)}",
                middle,
                ends,
                seconds,
                tuned,
            )
            rows.append(tuple(re.sub(r"(?<=\d) (?=\d)", "\u00a0", cell) for cell in cells))
        return [table(rows, (22, 8, 9, 16, 18, 14, 13))]


def table(rows: list[tuple[str, ...]], widths: tuple[int, ...]) -> nodes.table:
    """A table with a head; the first column is code."""
    group = nodes.tgroup("", *(nodes.colspec(colwidth=width) for width in widths), cols=len(widths))
    head, body = nodes.thead(), nodes.tbody()
    for index, row in enumerate(rows):
        cells = []
        for column, text in enumerate(row):
            inside = nodes.literal("", text) if index and not column else nodes.Text(text)
            cells.append(nodes.entry("", nodes.paragraph("", "", inside)))
        (body if index else head).append(nodes.row("", *cells))
    group += [head, body]
    return nodes.table("", group, classes=["hyperparameters"])


def framed(directive: Directive, markup: str) -> list[nodes.Node]:
    """Markup and its caption."""
    caption = nodes.container(classes=["chart-caption"])
    directive.state.nested_parse(directive.content, directive.content_offset, caption)
    figure = nodes.container(classes=["chart-frame"])
    figure += [nodes.raw("", markup, format="html"), *([caption] if caption.children else [])]
    return [figure]


def setup(app: Any) -> dict[str, Any]:
    """Make the directives known."""
    app.add_directive("measured", Measured)
    app.add_directive("picture", Picture)
    app.add_directive("hyperparameters", Hyperparameters)
    app.add_directive("commands", Commands)
    app.add_directive("solved-table", SolvedTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
