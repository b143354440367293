"""Language through `Experiment`: data in, generations, fitness, the disk, warm starts, the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import evolab as ev
from evolab.__main__ import main
from evolab.evaluation.language_returns import LanguageReturns, play
from evolab.networks.gpt.gpt import GPT

SMALL = {
    "population": 2, "steps_per_generation": 3, "seed": 1, "network": GPT(layers=1, width=8, heads=1, min_units=8),
    "hyperparameters": {"batch_size": 4},
}  # fmt: skip


def walks():
    return ev.envs.RandomWalks(nodes=6, edge_probability=0.4, longest=5, seed=1)


def game():
    return ev.envs.WordGame(["abc", "cab", "bca", "bac"], 3, 3, "abc")


def started(world, algorithm="BC", **options):
    exp = ev.Experiment(world, algorithm, **{**SMALL, **options})
    exp.fill(world.record(episodes=20, seed=0, player="random"))
    return exp


@pytest.mark.parametrize("algorithm", ["BC", "ILQL"])
@pytest.mark.parametrize("make", [walks, game])
def test_generations_record_the_mean_return_of_fixed_games(make, algorithm):
    world = make()
    exp = started(world, algorithm)
    generation = exp.step()
    assert {one.episodes for one in generation.evaluations} == {len(world.starts)}
    assert all(one.length > 0 for one in generation.evaluations)
    best = exp.best
    data = play(best, world, world.fixed_starts(len(world.starts), 0))
    assert abs(data.mean_return - generation.fitness) < 1e-6
    exp.run(generations=2)
    frame = exp.history.fitness
    assert len(frame) == 6
    assert set(exp.history.generations[-1].losses) == (
        {"policy"} if algorithm == "BC" else {"policy", "value"}
    )
    assert exp.elite.fitness == max(g.fitness for g in exp.history.generations)
    assert "RandomWalks" in repr(exp) or "WordGame" in repr(exp)
    exp.close()


def test_the_same_games_in_every_generation_and_for_every_seed_its_own_choice():
    world = ev.envs.WordGame(20)
    few, again, other = (
        LanguageReturns(world, 5, 3),
        LanguageReturns(world, 5, 3),
        LanguageReturns(world, 5, 4),
    )
    assert few.starts == again.starts != other.starts
    assert sorted(LanguageReturns(world).starts) == sorted(world.starts)


def test_a_rollout_and_a_dashboard_of_a_word_game():
    exp = started(game())
    exp.step()
    rollout = exp.rollout(episodes=2)
    assert len(rollout.returns) == 2
    assert all(-3 <= value <= 0 for value in rollout.returns)
    assert np.asarray(rollout.frames[0]).ndim == 3
    assert len(rollout.frames) == len(rollout.observations) + 2  # how each of the games ended
    assert not np.array_equal(rollout.frames[-1], rollout.frames[-2])
    assert exp.dashboard() is not None
    exp.close()


class Narrow(ev.envs.LanguageEnvironment):
    """Only one of four letters may be said, another one in every turn; the prompt is of one to three tokens."""

    def __init__(self):
        super().__init__(ev.envs.Tokenizer([*"abcd", "<pad>"]), block=8, starts=range(12))

    def begin(self, start):
        return {"next": start % 4, "left": 4}, [0] * (1 + start % 3)

    def legal(self, state):
        return np.arange(5) == state["next"]

    def hear(self, state, token):
        right = token == state["next"]
        state["next"], state["left"] = (state["next"] + 3) % 4, state["left"] - 1
        return ev.envs.Reply(reward=0.0 if right else -1.0, terminated=state["left"] == 0)


@pytest.mark.parametrize("algorithm", ["BC", ev.ILQL(), ev.BC(beams=2)], ids=["BC", "ILQL", "beams"])
def test_an_agent_says_only_what_is_legal_wherever_it_plays(algorithm):
    """A rollout was of another game: tokens that no measured episode has were played."""
    world = Narrow()
    world.utterance = 1
    exp = ev.Experiment(world, algorithm, **SMALL)
    exp.fill(20)
    exp.step()
    assert exp.rollout(24, agent="best").returns == [0.0] * 24
    assert exp.evaluate(12).mean == 0.0
    assert world.play_many(exp.best, world.starts).mean_return == 0.0
    exp.close()


def test_an_agent_is_a_policy_for_many_episodes():
    world = game()
    exp = started(world)
    agent = exp.population[0]
    own = world.play_many(agent, world.starts)
    assert torch.equal(own.tokens, play(agent, world, world.starts).tokens)
    exp.close()


def test_agents_are_evaluated_in_a_language_environment_as_in_any_other():
    """ev.evaluate refused it, though Experiment and agent.evaluate take it."""
    world = game()
    exp = started(world)
    found = ev.evaluate(exp.population, world, 4, seed=3)
    assert found.shape == (len(exp.population),)
    assert np.isfinite(found).all()
    assert ev.evaluate(exp.population[1], world, 4, seed=3).tolist() == [found[1]]
    exp.close()


def test_what_only_agents_of_observations_can_do_is_refused(tmp_path):
    agent = started(game()).population[0]
    for name in ("agent.onnx", "agent.pt2"):
        with pytest.raises(ValueError, match=r"agent 0 reads tokens \(BC\).*Call agent\.save\(folder\)"):
            agent.export(tmp_path / name)
    for fitness in ("fqe", ev.FQE()):
        with pytest.raises(
            ValueError, match="fitness='fqe' measures agents by stored transitions, and ILQL keeps none"
        ):
            ev.Experiment(game(), algorithm="ILQL", population=2, fitness=fitness)


@pytest.mark.parametrize("algorithm", ["BC", "ILQL"])
def test_a_resumed_run_equals_one_that_never_stopped(tmp_path, algorithm):
    whole = started(game(), algorithm)
    whole.run(generations=2)
    part = started(game(), algorithm)
    part.run(generations=1)
    part.save(tmp_path / "run")
    again = ev.Experiment.load(tmp_path / "run")
    again.run(generations=1)
    assert whole.population.ids == again.population.ids
    for name, value in whole.population.table.items():
        assert torch.equal(value, again.population.table[name]), name
    assert whole.history.fitness.equals(again.history.fitness)
    for exp in (whole, part, again):
        exp.close()


def test_ilql_starts_from_a_cloned_agent(tmp_path):
    cloned = started(game())
    cloned.step()
    cloned.best.save(tmp_path / "bc")
    for load in (tmp_path / "bc", cloned.best):
        exp = started(game(), "ILQL", load=load, network=None)
        theirs, mine = cloned.best.individual(), exp.population.individual(1)
        for name, value in theirs.tensors["policy"].items():
            assert torch.equal(value, mine.tensors["policy"][name]), name
            assert torch.equal(value, mine.tensors["value"][name]), f"the values' {name}"
            assert torch.equal(value, mine.tensors["value.target"][name]), f"the targets' {name}"
            assert not mine.tensors["policy.mean"][name].any()
        assert mine.tensors["value"]["output.weight"].any()
        exp.step()
        exp.save(tmp_path / f"run-{type(load).__name__}")
        exp.close()
    (tmp_path / "bc").rename(tmp_path / "gone")
    again = ev.Experiment.load(tmp_path / f"run-{type(tmp_path).__name__}")
    assert again.generation == 1
    again.close()
    with pytest.raises(ValueError, match="load: the agent's observation_space is"):
        ev.Experiment(walks(), "ILQL", load=tmp_path / "gone", **{**SMALL, "network": None})
    cloned.close()


def test_a_saved_agent_loads_in_transformers_and_back(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is in the extra `test`")
    exp = started(game(), "ILQL", dtype=torch.float32)
    exp.step()
    exp.best.save(tmp_path / "agent")
    model = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "agent").eval()
    given = exp.buffer.fields["tokens"][:5]
    with torch.no_grad():
        expected = exp.best.module()(given)
        assert float((model(given).logits - expected).abs().max()) < 1e-5
    model.save_pretrained(tmp_path / "theirs")
    start = started(game(), "BC", load=tmp_path / "theirs", network=None)
    for agent in start.population:
        with torch.no_grad():
            assert float((agent.module()(given) - expected).abs().max()) < 1e-5
    start.step()
    other = ev.envs.WordGame(["abcd", "dabc"], 4, 3, "abcd")
    with pytest.raises(ValueError, match="the vocabularies don't match"):
        ev.Experiment(other, "BC", load=tmp_path / "theirs", population=1)
    again = ev.Agent.load(tmp_path / "agent")
    assert torch.equal(again.module()(given), exp.best.module()(given))
    for one in (exp, start):
        one.close()


def test_configurations_name_worlds_and_networks():
    exp = started(game(), "ILQL")
    exp.step()
    config = json.loads(json.dumps(exp.config))
    assert config["environment"]["type"] == "WordGame"
    assert config["environment"]["letters"] == 3
    assert config["network"]["type"] == "GPT"
    twin = ev.Experiment.from_config(config)
    assert twin.config == config
    twin.fill({"player": "random", "episodes": 20, "seed": 0})
    assert repr(twin.step()) == repr(exp.history.generations[0])
    with pytest.raises(ValueError, match=r"Unknown option of WordGame.record 'plyer'.*did you mean 'player'"):
        twin.fill({"plyer": "random"})
    with pytest.raises(ValueError, match=r"Unknown option of WordGame 'leters'"):
        ev.Experiment.from_config({**config, "environment": {"type": "WordGame", "leters": 3}})
    exp.close()
    twin.close()


def test_bad_input_is_named():
    world = game()
    exp = ev.Experiment(world, "BC", **SMALL)
    with pytest.raises(ev.DatasetError, match="list came; a language environment learns from a TokenDataset"):
        exp.fill([1, 2, 3])
    with pytest.raises(ev.DatasetError, match="vocabulary of 7 names"):
        exp.fill(walks().record(episodes=3, seed=0))
    with pytest.raises(ev.DatasetError, match="has no episodes"):
        exp.fill(world.record("random", 3)[:0])
    with pytest.raises(ValueError, match="there are no data yet"):
        exp.step()
    exp.fill(6)
    assert len(exp.buffer) == 6
    with pytest.raises(TypeError, match=r"a language environment is expected, 'CartPole-v1' came"):
        ev.Experiment("CartPole-v1", "BC")
    with pytest.raises(ValueError, match="block holds 4 tokens, the environment's sequences have up to"):
        ev.Experiment(world, "BC", network=GPT(block=4))
    with pytest.raises(FileNotFoundError, match="there is no agent at nowhere"):
        ev.Experiment(world, "ILQL", load="nowhere")
    exp.close()


def test_the_command_line_clones_and_then_goes_on_with_ilql(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    common = {
        "environment": {"type": "WordGame", "words": ["abc", "cab", "bca"], "letters": 3, "tries": 3, "alphabet": "abc"},
        "population": 2, "steps_per_generation": 2, "seed": 1, "hyperparameters": {"batch_size": 4},
        "run": {"fill": {"player": "mixture", "episodes": 20}, "generations": 1},
    }  # fmt: skip
    small = {"type": "GPT", "layers": 1, "width": 8, "heads": 1}
    (tmp_path / "bc.json").write_text(json.dumps({**common, "algorithm": "BC", "network": small}))
    assert main(["run", "bc.json"]) == 0
    (tmp_path / "ilql.json").write_text(json.dumps({**common, "algorithm": "ILQL", "load": "runs/bc"}))
    assert main(["run", "ilql.json"]) == 0
    for run in ("bc", "ilql"):
        folder = tmp_path / "runs" / run
        assert (folder / "config.yaml").exists()
        assert (folder / "rollout.gif").exists()
        assert isinstance(ev.Agent.load(folder).algorithm, ev.BC)
    assert (
        main(["run", str(tmp_path / "runs" / "ilql" / "config.yaml"), "--generations", "1", "--fill", "9"])
        == 0
    )
