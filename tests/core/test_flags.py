from __future__ import annotations

import numpy as np
import pytest
import torch

from evolab.core.actions import within
from evolab.core.flags import all_of, any_of, as_flags


@pytest.mark.parametrize("flags", [[], [True], [False], [True, False], [True, True], [False, False]])
def test_some_and_every_mean_what_numpy_means(flags):
    array = np.array(flags, bool)
    assert (any_of(array), all_of(array)) == (array.any(), array.all())


def test_whatever_says_yes_or_no_becomes_flags():
    for given in ([0, 2], np.array([0.0, 1.5]), torch.tensor([0, 3]), torch.tensor([False, True])):
        assert as_flags(given).tolist() == [False, True]
    own = np.array([True])
    assert as_flags(own) is own


def test_a_number_beyond_its_bounds_becomes_the_bound_and_nothing_is_written_in_place():
    given = np.array([-2.0, 0.5, np.inf, np.nan], "f")
    clipped = within(given, np.full(4, -1, "f"), np.full(4, 1, "f"))
    np.testing.assert_array_equal(clipped, np.array([-1, 0.5, 1, np.nan], "f"))
    assert given[0] == -2
