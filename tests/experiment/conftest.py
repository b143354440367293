"""What tests of experiments begin with."""

from __future__ import annotations

import pytest

from tests.experiment.toy_runs import toy


@pytest.fixture
def exp():
    experiment = toy()
    experiment.fill(60)
    yield experiment
    experiment.close()
