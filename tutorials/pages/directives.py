"""Directives: `measured` draws committed measurements, `picture` shows a drawing, three more make tables from the code."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from statistics import median
from typing import Any

from charts import CHARTS, TUNED, read
from docutils import nodes
from docutils.parsers.rst import Directive
from drawing import number

FIGURES = Path(__file__).parent / "figures"


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
        path = FIGURES / f"{self.arguments[0]}.svg"
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
