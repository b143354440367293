"""Imports go down the layers only, so that each file can be read knowing nothing of those above it.

Imports inside functions count too; only those under TYPE_CHECKING do not.
"""

from __future__ import annotations

import ast
from pathlib import Path

import evolab

PACKAGE = Path(evolab.__file__).parent

# From the bottom up. A name is a file or a folder of the package.
LAYERS = [
    [
        "allocator",
        "checks",
        "display",
        "effects",
        "events",
        "files",
        "folders",
        "graphs",
        "jsonlines",
        "progress",
    ],
    ["lock", "native", "precision", "randomness", "spaces"],
    ["actions", "genes", "member", "networks", "optimizer", "racing", "sample"],
    # What a population is made of stands below it: its rows are an algorithm's tensors.
    ["algorithms", "band", "chunk", "config", "critics", "search", "shelves", "slopes"],
    ["agent", "archive", "decoding", "export", "laying", "learning", "population", "speaking"],
    ["recording", "envs", "mutations", "selections", "shorthands", "sources"],
    ["evaluation", "evidence", "fqe", "generation", "history", "ledger", "ring", "world_model"],
    ["assembly", "checkpoint", "games", "judging", "renewal", "run", "training", "warm_start"],
    ["comparison", "driven", "keeper", "panels", "schedule", "trackers"],
    ["experiment", "presets"],
    ["__main__", "testing"],
]

# Parts of a shelf don't import one another, save a variant its parent.
VARIANTS = {
    ("algorithms.td3", "algorithms.ddpg"),  # TD3 is DDPG with two critics
    ("algorithms.cqn", "algorithms.dqn"),  # CQN is DQN with a penalty
    ("networks.multi_input", "networks.cnn"),  # MultiInput is a CNN with several images
    ("algorithms.ilql", "algorithms.bc"),  # ILQL is a cloned policy that values steer
    ("algorithms.td3_bc", "algorithms.td3"),  # TD3+BC is TD3 with a pull to the data
}

# Public names that live in the contract of their shelf.
CONTRACTS = {"mutations.mutation", "sources.columns"}

# An import upwards, with the reason why it cannot be one downwards.
ALLOWED: dict[tuple[str, str], str] = {}


def modules() -> list[str]:
    """Every module of the package by its dotted name below `evolab`."""
    names = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return [name for name in names if name]


def path_of(module: str) -> Path:
    base = PACKAGE.joinpath(*module.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


class _Imports(ast.NodeVisitor):
    def __init__(self) -> None:
        self.found: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" in ast.unparse(node.test):
            for statement in node.orelse:
                self.visit(statement)
        else:
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.found |= {alias.name for alias in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert node.level == 0, "imports are absolute"
        self.found |= {f"{node.module}.{alias.name}" for alias in node.names}


def imports_of(module: str) -> set[str]:
    """The modules of the package that a module imports, by their dotted names below `evolab`."""
    visitor = _Imports()
    visitor.visit(ast.parse(path_of(module).read_text(encoding="utf-8")))
    known = set(modules())
    targets = set()
    for name in visitor.found:
        if not name.startswith("evolab."):
            continue
        parts = name.split(".")[1:]
        while parts and ".".join(parts) not in known:
            parts.pop()
        if parts:
            targets.add(".".join(parts))
    return targets - {module}


def layer_of(module: str) -> int:
    top = module.split(".")[0]
    for number, names in enumerate(LAYERS):
        if top in names:
            return number
    raise AssertionError(f"{top} stands in no layer: give it a place in LAYERS")


def test_imports_go_down_the_layers_only():
    upwards = [
        f"{module} imports {target}"
        for module in modules()
        for target in sorted(imports_of(module))
        if layer_of(target) > layer_of(module) and (module, target) not in ALLOWED
    ]
    assert not upwards


def test_parts_of_a_shelf_do_not_import_one_another():
    parts = {home for home in evolab._HOMES.values() if "." in home} - CONTRACTS
    wrong = [
        f"{module} imports {target}"
        for module in sorted(parts)
        for target in sorted(imports_of(module) & parts)
        if target.split(".")[0] == module.split(".")[0] and (module, target) not in VARIANTS
    ]
    assert not wrong


def test_every_exception_is_still_needed():
    stale = [pair for pair in ALLOWED if pair[1] not in imports_of(pair[0])]
    assert not stale
