from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import evolab as ev

HEAVY = (
    "pandas",
    "plotly",
    "ipywidgets",
    "anywidget",
    "imageio",
    "h5py",
    "gymnasium",
    "IPython",
    "yaml",
    "tqdm",
)


def test_importing_evolab_costs_next_to_nothing_beyond_torch():
    code = (
        "import json, sys, time, torch\n"
        "before, start = set(sys.modules), time.process_time()\n"
        "import evolab\n"
        "spent = time.process_time() - start\n"
        "print(json.dumps([spent, sorted({n.split('.')[0] for n in set(sys.modules) - before})]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    spent, modules = json.loads(out)
    assert spent < 0.6  # 0.1 s on a quiet machine
    assert not set(modules) & set(HEAVY)


def test_importing_evolab_imports_neither_typing_nor_what_only_mistakes_need():
    code = "import sys, evolab; print(*(n for n in ('typing', 'difflib', 'evolab.core.checks') if n in sys.modules))"
    out = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == []


def test_no_public_name_is_hidden_by_a_module_of_the_same_name():
    # Importing a submodule sets it as an attribute of the package, in place of the function.
    modules = {module.name for module in pkgutil.iter_modules(ev.__path__)}
    assert not modules & set(ev.__all__) - {"envs", "testing"}
