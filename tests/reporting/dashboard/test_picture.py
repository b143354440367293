"""The still picture of a run, for pages without widgets."""

from __future__ import annotations

import dataclasses

from evolab.history.events import Generation
from evolab.reporting.dashboard.picture import run_picture
from evolab.reporting.dashboard.store import Store
from tests.reporting.dashboard.fake import make_history


def narrowed() -> list[Generation]:
    """Eight agents twice, then the four best of them."""
    generations = list(make_history(4, 8))
    for i in (2, 3):
        fewer = generations[i].evaluations[:4]
        kept = {e.agent for e in fewer}
        births = tuple(b for b in generations[i].births if b.parent in kept)
        generations[i] = dataclasses.replace(generations[i], evaluations=fewer, births=births)
    return generations


def drawn(generations: list[Generation], target: float | None = None):
    store = Store()
    store.absorb(generations)
    return run_picture(store, target, "A run")


def test_a_tree_has_room_for_the_largest_generation_that_it_shows():
    assert drawn(narrowed()).height == drawn(list(make_history(4, 8))).height


def test_what_fresh_episodes_confirmed_is_drawn_and_within_the_axis():
    generations = list(make_history(3))
    plain = drawn(generations)
    generations[1] = dataclasses.replace(generations[1], confirmed=generations[1].fitness + 1_000.0)
    ringed = drawn(generations)
    assert ringed.size == plain.size
    assert ringed.tobytes() != plain.tobytes()


def test_who_came_from_another_island_has_a_shape_and_an_arc():
    generations = list(make_history(3))
    plain = drawn(generations)
    births = tuple(dataclasses.replace(b, kind="migrated") for b in generations[0].births)
    generations[0] = dataclasses.replace(generations[0], births=births)
    assert drawn(generations).tobytes() != plain.tobytes()
