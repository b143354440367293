"""What the whole test suite shares: which tests run where, and that a skip cannot hide in CI.

Under EVOLAB_REQUIRE_ALL=1 (set by .ci/run) a browser, notebook, kernel or data test that would
skip on a laptop fails instead.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from hypothesis import settings

collect_ignore_glob = ["benchmarks/*"]  # scripts that measure for minutes; they hold no tests

REQUIRE_ALL = os.environ.get("EVOLAB_REQUIRE_ALL") == "1"
NEVER_SKIPPED = ("browser", "notebook", "data", "kernels", "ray")
BROWSERS = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")

# The same examples on every run, and no deadline: a busy machine is not a defect.
settings.register_profile("house", deadline=None, derandomize=True, max_examples=50, database=None)
settings.load_profile("house")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests that take minutes as well")


def pytest_collection_modifyitems(config, items):
    obstacles = {"slow": None if config.getoption("--slow") else "takes minutes; run with --slow"}
    for item in items:
        for marker in ("slow", *CHECKED):
            if item.get_closest_marker(marker):
                if marker not in obstacles:
                    obstacles[marker] = CHECKED[marker]()
                if obstacles[marker]:
                    item.add_marker(pytest.mark.skip(reason=obstacles[marker]))


def _no_cuda() -> str | None:
    import torch

    return None if torch.cuda.is_available() else "there is no CUDA device"


def _no_browser() -> str | None:
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed"
    if not any(Path(browser).exists() for browser in BROWSERS):
        return "there is no Chromium"
    return None


def _no_kernels() -> str | None:
    import torch

    from evolab.networks.kernels.build import library

    return "there is no C compiler" if library(torch.float32) is None else None


def _no_ray() -> str | None:
    return "Ray is not installed" if importlib.util.find_spec("ray") is None else None


CHECKED = {"cuda": _no_cuda, "browser": _no_browser, "kernels": _no_kernels, "ray": _no_ray}
"""What may stand in a marked test's way."""


@pytest.fixture(scope="session")
def chromium():
    """One Chromium for the whole suite: the loop of an open one forbids a second in the same thread."""
    from tests.browser.lab import browser

    with browser() as made:
        yield made


@pytest.fixture(scope="session")
def one_ray():
    """One Ray of this machine for the whole suite: it takes some seconds to begin."""
    os.environ.setdefault(
        "RAY_worker_niceness", "0"
    )  # its own default yields to whatever else the machine does
    from evolab.core import ray_session

    ray_session.connect("the suite", cpus=2)
    yield
    ray_session.imported("the suite").shutdown()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if (
        REQUIRE_ALL
        and report.skipped
        and not hasattr(report, "wasxfail")
        and not item.get_closest_marker("slow")
    ):
        needed = [name for name in NEVER_SKIPPED if item.get_closest_marker(name)]
        if needed:
            report.outcome = "failed"
            report.longrepr = f"a {needed[0]} test was skipped under EVOLAB_REQUIRE_ALL=1: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    if REQUIRE_ALL and report.skipped and "browser" in collector.path.parts:
        report.outcome = "failed"
        report.longrepr = f"browser tests were skipped under EVOLAB_REQUIRE_ALL=1: {report.longrepr}"
    return report
