"""An agent in a loop of one's own, as its model card shows it: test episodes, pictures, a GIF."""

from __future__ import annotations

import imageio
import pytest

import evolab as ev
from tests.small import experiment


@pytest.mark.parametrize(("algorithm", "environment"), [("DQN", "CartPole-v1"), ("TD3", "Pendulum-v1")])
def test_the_card_s_example_plays_what_the_experiment_s_rollout_plays(
    tmp_path, monkeypatch, capsys, algorithm, environment
):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    exp = experiment(algorithm, eval_steps=None)
    exp.step()
    exp.best.save(tmp_path / "agent")
    text = (tmp_path / "agent" / "README.md").read_text()
    (code,) = [part.partition("```")[0] for part in text.split("```python\n")[1:]]
    code = code.replace("path/to/this/folder", str(tmp_path / "agent"))
    code = code.replace("the environment's id", environment)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    assert names["returns"] == exp.rollout(episodes=3, seed=0).returns
    assert str(names["returns"]) in capsys.readouterr().out
    assert len(imageio.mimread("episodes.gif", memtest=False)) >= 2
    exp.close()


def test_a_card_has_the_metadata_that_model_hubs_read(tmp_path):
    import yaml

    exp = experiment()
    exp.step()
    exp.best.save(tmp_path / "agent")
    head = (tmp_path / "agent" / "README.md").read_text().split("---\n")[1]
    about = yaml.safe_load(head)
    assert about["library_name"] == "evolab"
    assert about["pipeline_tag"] == "reinforcement-learning"
    assert {"reinforcement-learning", "evolab", "DQN"} <= set(about["tags"])
    assert ev.Agent.load(tmp_path / "agent").id == exp.best.id
