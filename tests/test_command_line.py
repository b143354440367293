"""The command line: a user's mistake costs one line and no time, a run leaves its results behind."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

import evolab as ev
from evolab.__main__ import main
from tests.toys import Still, Toy

TINY = """
environment: CartPole-v1
algorithm: DQN
population: 2
num_envs: 2
steps_per_generation: 40
seed: 1
hyperparameters: {batch_size: 32}
run: {fill: 100, generations: 1}
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """Ids of environments that take no time, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("evolab.training.options.TRANSITIONS", 100)  # of a generation
    gymnasium.register("Toy-v0", Toy, max_episode_steps=10)
    gymnasium.register(
        "Still-v0", Still, max_episode_steps=10, reward_threshold=3.0
    )  # pays 2 to 6, 4 in the mean
    yield
    for name in ("Toy-v0", "Still-v0"):
        del gymnasium.registry[name]


def counted(shown):
    """All steps, those of training and those of evaluation, as the last lines tell them."""
    found = re.search(r"([\d,]+) steps \(training ([\d,]+), evaluation ([\d,]+)\)", shown)
    return [int(count.replace(",", "")) for count in found.groups()]


def test_help_names_the_commands(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("solve", "demo", "run", "certify", "runs"))


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("evolab 0.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--algorithm", "TD5"], "Unknown algorithm 'TD5'"),
        (["solve", "LunarLandr-v3"], "did you mean 'LunarLander-v3'?"),
        (["solve", "Pendulum-v1", "--algorithm", "DQN"], "DQN"),
        (["solve", "CartPole-v1", "--population", "0"], "population is 0; expected a whole number >= 1."),
        (["solve", "CartPole-v1", "--generations", "0"], "generations is 0; expected a whole number >= 1."),
        (["solve", "CartPole-v1", "--max-steps", "-5"], "max_steps is -5; expected a whole number >= 1."),
        (["solve", "CartPole-v1", "--target", "nan"], "target"),
        (["solve", "nowhere.h5"], "nowhere.h5"),
        (["run", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_a_mistake_costs_one_line_and_leaves_no_folder(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("evolab: ")
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "runs").exists()


def test_a_folder_in_use_is_not_written_over(config, tmp_path, capsys):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "note.txt").write_text("mine", encoding="utf-8")
    assert main(["run", str(config), "--out", str(taken)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_an_unknown_option_of_a_configuration_is_named(config, capsys):
    config.write_text(TINY + "populaton: 3\n", encoding="utf-8")
    assert main(["run", str(config)]) == 2
    assert "did you mean 'population'?" in capsys.readouterr().err


def test_a_run_needs_a_goal(config, capsys):
    config.write_text(TINY.replace(", generations: 1", ""), encoding="utf-8")
    assert main(["run", str(config)]) == 2
    assert "a run needs a goal" in capsys.readouterr().err


def test_a_run_leaves_elite_history_configuration_and_picture(config, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["run", str(config), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "best" in shown
    written = {path.name for path in out.iterdir()}
    assert {"elite", "history", "config.yaml", "rollout.gif", "generation-000001"} <= written
    assert (out / "rollout.gif").read_bytes().startswith(b"GIF8")
    first = (out / "history" / "fitness.csv").read_text(encoding="utf-8").splitlines()
    assert first[0].startswith("generation,agent")
    assert len(first) == 3
    json.loads((out / "history" / "fitness.jsonl").read_text(encoding="utf-8").splitlines()[0])


def test_the_written_configuration_makes_the_same_run_again(config, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["run", str(config), "--out", str(first)]) == 0
    again = ["run", str(first / "config.yaml"), "--fill", "100", "--generations", "1", "--out", str(second)]
    assert main(again) == 0
    for table in ("fitness.csv", "mutations.csv", "hyperparameters.csv"):
        assert (first / "history" / table).read_text("utf-8") == (second / "history" / table).read_text(
            "utf-8"
        )


def test_runs_are_listed_with_what_became_of_them(config, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["run", str(config)]) == 0
    words = "solve CartPole-v1 --seed 1 --population 2 --max-steps 200"
    assert main(words.split()) == 0
    capsys.readouterr()
    assert main(["runs"]) == 0
    head, newest, oldest = capsys.readouterr().out.splitlines()
    assert head.split() == [
        "run",
        "environment",
        "algorithm",
        "best",
        "confirmed",
        "generation",
        "steps",
        "of",
        "eval",
        "time",
        "saved",
    ]
    assert newest.split()[:3] == ["CartPole-v1-DQN-seed1", "CartPole-v1", "DQN"]
    name, environment, algorithm, best, _, generation, steps, evaluation, clock, *_ = oldest.split()
    assert (name, environment, algorithm, generation) == ("tiny", "CartPole-v1", "DQN", "1")
    table = ev.runs("runs").set_index("run")
    training, spent = (int(table.loc["tiny", name]) for name in ("total_steps", "evaluation_steps"))
    assert training == 100 + 2 * 40
    assert (steps, evaluation) == (f"{training + spent:,}", f"{spent:,}")
    assert best == f"{table.loc['tiny', 'best_fitness']:.1f}"
    assert clock.count(":") == 2
    assert main(["runs", "nowhere"]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["runs", "empty"]) == 0
    assert "no saved run below empty" in capsys.readouterr().out


def test_a_run_is_gone_on_with_where_it_stopped(config, tmp_path, capsys):
    out, whole = tmp_path / "out", tmp_path / "whole"
    assert main(["run", str(config), "--out", str(out)]) == 0
    assert main(["run", str(out), "--generations", "2"]) == 0
    assert main(["run", str(config), "--generations", "3", "--out", str(whole)]) == 0
    for table in ("fitness.csv", "mutations.csv"):
        assert (out / "history" / table).read_text("utf-8") == (whole / "history" / table).read_text("utf-8")
    assert ev.Experiment.load(out).generation == 3
    assert main(["run", str(out)]) == 2
    assert "a run needs a goal" in capsys.readouterr().err


def test_a_saved_run_is_certified_and_gone_on_with(config, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["run", str(config), "--out", str(out)]) == 0
    before = {path.name for path in out.iterdir()}
    words = ["--seeds", "3", "--episodes", "2", "--max-steps", "1200", "--target", "9"]
    assert main(["certify", str(out), *words]) == 0
    shown = capsys.readouterr().out
    assert "Certificate(DQN on CartPole-v1: 3 seeds" in shown
    assert "reach the target of 9" in shown
    assert shown.splitlines()[-1] == str(out / "certificate.json")
    found = json.loads((out / "certificate.json").read_text(encoding="utf-8"))
    assert (found["seeds"], found["episodes"], found["target"]) == (3, 2, 9.0)
    assert {path.name for path in out.iterdir()} == before | {"certificate.json"}
    assert main(["run", str(out), "--generations", "1"]) == 0
    assert ev.Experiment.load(out).generation == 2


@pytest.mark.parametrize(
    ("words", "message"), [(["--seeds", "0"], "seeds is 0"), (["--max-steps", "10"], "max_steps=10 leaves no step")]
)  # fmt: skip
def test_what_cannot_be_certified_costs_a_line(words, message, config, tmp_path, capsys):
    assert main(["certify", str(tmp_path / "nowhere")]) == 2
    assert "there is no saved run at" in capsys.readouterr().err
    out = tmp_path / "out"
    assert main(["run", str(config), "--out", str(out)]) == 0
    capsys.readouterr()  # a slow machine has said how far it was
    assert main(["certify", str(out), *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (out / "certificate.json").exists()


def test_data_that_cannot_be_read_leave_no_folder(config, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config.write_text(TINY.replace("DQN", "CQN").replace("fill: 100", "fill: nowhere.h5"), encoding="utf-8")
    assert main(["run", str(config)]) == 2
    assert "nowhere.h5" in capsys.readouterr().err
    assert not list((tmp_path / "runs").iterdir())


def test_an_environment_is_all_that_solve_needs(toys, capsys, monkeypatch):
    monkeypatch.setattr(
        "evolab.experiment.command_line.experiments.MOST_STEPS", 300
    )  # where neither a threshold nor a budget is known
    assert main(["solve", "Toy-v0"]) == 0
    shown = capsys.readouterr().out
    together, training, evaluation = counted(shown)
    assert together == training + evaluation
    assert 300 <= together < 300 + 16, "a budget holds to one step of the 16 environments"
    assert "8 SAC agents" in shown
    assert re.search(r"^after .*: (elite|agent \d+ is proposed as the elite)", shown, re.MULTILINE)
    (folder,) = Path("runs").iterdir()
    assert re.fullmatch(r"Toy-v0-SAC-seed\d+", folder.name)
    assert {"elite", "history", "config.yaml"} <= {path.name for path in folder.iterdir()}


def test_a_line_of_a_generation_counts_all_steps(toys, capsys):
    assert main(["solve", "Toy-v0", "--population", "2", "--generations", "1", "--max-steps", "300"]) == 0
    shown = capsys.readouterr().out
    together, _, evaluation = counted(shown)
    head = next(line for line in shown.splitlines() if line.split()[:1] == ["gen"])
    row = next(line for line in shown.splitlines() if line.split()[:1] == ["1"])
    assert re.split(r"\s{2,}|(?<=n) (?=s)", head.strip())[:3] == ["gen", "steps", "of eval"]
    assert row.split()[1:3] == [f"{together:,}", f"{evaluation:,}"]


def test_solve_ends_at_the_threshold_of_the_environment(toys, capsys):
    assert main(["solve", "Still-v0", "--population", "2", "--max-steps", "20000"]) == 0
    shown = capsys.readouterr().out
    assert "target 3 reached in" in shown
    assert "over 100 fresh episodes" in shown
    together, training, evaluation = counted(shown)
    assert together == training + evaluation < 20_000
    assert evaluation >= 100, "a hundred fresh episodes"


def test_a_target_that_is_not_reached_is_told(toys, capsys):
    assert main(["solve", "Still-v0", "--target", "50", "--population", "2", "--max-steps", "500"]) == 0
    shown, told = capsys.readouterr()
    assert "the target of 50 was not reached" in told, "though each generation is a run of its own"
    assert "target 50 not reached in" in shown
    assert counted(shown)[0] < 500 + 4


def test_data_in_the_environments_place_are_enough(toys, capsys):
    steps, ends = 400, np.arange(1, 401) % 20 == 0
    generator = np.random.default_rng(0)
    np.savez(
        "recorded.npz", observations=generator.normal(size=(steps, 3)).astype(np.float32),
        actions=generator.integers(0, 2, steps), rewards=generator.normal(size=steps).astype(np.float32),
        terminals=ends, timeouts=np.zeros(steps, dtype=bool),
    )  # fmt: skip
    assert main(["solve", "recorded.npz", "--seed", "3", "--generations", "1", "--max-steps", "80"]) == 0
    shown = capsys.readouterr().out
    assert "CQN" in shown
    assert counted(shown)[2] == 0, "no environment, no steps of evaluation"
    assert ev.Agent.load(Path("runs") / "recorded-CQN-seed3" / "elite").algorithm == ev.CQN()


def test_solve_takes_another_algorithm(toys, capsys):
    words = ["--algorithm", "PPO", "--population", "2", "--max-steps", "512", "--out", "out"]
    assert main(["solve", "CartPole-v1", *words]) == 0
    assert counted(capsys.readouterr().out)[0] < 512 + 16
    assert ev.Agent.load(Path("out") / "elite").algorithm == ev.PPO()


def test_the_demo_solves_the_lander(toys, monkeypatch):
    seen = []

    def train(experiment, folder, interrupted, **goals):
        seen.append((experiment.name, experiment.target, goals["max_steps"]))
        experiment.close()
        return 0

    monkeypatch.setattr("evolab.experiment.command_line.output.train", train)
    for words in ("demo", "solve LunarLanderContinuous-v3", "demo --target 150 --minutes 3"):
        assert main([*words.split(), "--population", "2"]) == 0
    lander = "LunarLanderContinuous-v3"
    assert seen == [(lander, 200.0, 1_000_000)] * 2 + [(lander, 150.0, None)]


def test_solve_writes_over_nothing(toys, tmp_path, capsys):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "note.txt").write_text("mine", encoding="utf-8")
    assert main(["solve", "Toy-v0", "--out", str(taken)]) == 2
    assert "is not empty" in capsys.readouterr().err
    for _ in range(2):
        assert main(["solve", "Toy-v0", "--seed", "4", "--population", "2", "--max-steps", "200"]) == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == ["Toy-v0-SAC-seed4", "Toy-v0-SAC-seed4-2"]


def test_an_interrupted_solve_writes_what_there_is(toys, capsys, monkeypatch):
    run = ev.Experiment.run

    def interrupted(experiment, *arguments, callback, **options):
        def then(generation):
            callback(generation)
            signal.raise_signal(signal.SIGINT)

        return run(experiment, *arguments, callback=then, **options)

    monkeypatch.setattr(ev.Experiment, "run", interrupted)
    assert main(["solve", "Toy-v0", "--population", "2", "--max-steps", "100000", "--out", "out"]) == 130
    told = capsys.readouterr()
    assert "interrupted; writing what there is" in told.err
    assert counted(told.out)[0] > 0
    assert {"elite", "history", "config.yaml"} <= {path.name for path in Path("out").iterdir()}
    assert not (Path("out") / ".lock").exists()


def ended(arguments, **options):
    """A process of the command line, when it has ended."""
    environment = {**os.environ, "PYTHONPATH": str(Path(ev.__file__).parents[1]), "TQDM_DISABLE": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "evolab", *arguments], env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip
    return process


def test_a_closed_pipe_ends_a_run_without_a_traceback(config, tmp_path):
    """`evolab run | head -1` ended in one, and left the environments open."""
    process = ended(["run", str(config), "--generations", "3", "--out", str(tmp_path / "out")])
    process.stdout.readline()
    process.stdout.close()
    told = process.stderr.read()
    assert (process.wait(120), told) == (141, "")  # before or after a generation: who closes first is a race
    assert not (tmp_path / "out" / ".lock").exists()


def test_ctrl_c_while_a_run_is_being_prepared_ends_without_a_traceback(config, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("evolab.experiment.config.conversions.read", interrupted)
    assert main(["run", str(config)]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("words", [["--help"], ["runs"]], ids=" ".join)
def test_a_pipe_that_nobody_reads_ends_no_command_in_a_traceback(words, tmp_path):
    (tmp_path / "runs").mkdir()
    process = ended(words, cwd=tmp_path)
    process.stdout.close()
    assert (process.stderr.read(), process.wait(120)) in [("", 141), ("", 0)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize(("output", "code"), [(">/dev/full", 1), (">&-", 0), ("2>&-", 0), (">&- 2>&-", 0)])
def test_an_output_that_is_full_or_closed_ends_no_run_in_a_traceback(output, code, config, tmp_path):
    """'NoneType' object has no attribute 'flush', and No space left on device."""
    environment = {**os.environ, "PYTHONPATH": str(Path(ev.__file__).parents[1]), "TQDM_DISABLE": "1"}
    command = f"{sys.executable} -m evolab run {config} --out {tmp_path / 'out'} {output}"
    found = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True)
    assert found.returncode == code, found.stderr
    assert "Traceback" not in found.stderr
    assert ("the output can't be written: No space left" in found.stderr) == (code == 1)
    assert (tmp_path / "out" / "generation-000001").exists() or code
    assert not (tmp_path / "out" / ".lock").exists()


INTERRUPTED_AT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests in the background may ignore it
class Interrupting:
    def find_spec(self, name, *_):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from evolab.__main__ import main
sys.exit(main(["solve", "CartPole-v1"]))
"""


@pytest.mark.parametrize("module", ["torch", "gymnasium"])
def test_ctrl_c_while_modules_are_imported_ends_without_a_traceback(module, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(ev.__file__).parents[1])}
    process = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT, module],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (process.returncode, process.stderr, process.stdout) == (130, "interrupted\n", "")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_costs_a_line(config, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["run", str(config), "--out", str(tmp_path / "file" / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(tmp_path / "file" / "out") in error


def test_minutes_end_a_run_and_what_it_has_is_written(config, tmp_path, capsys, monkeypatch):
    ticks = itertools.count()  # a millisecond for each look at the clock, however long it takes
    monkeypatch.setattr("evolab.training.budget.time", SimpleNamespace(monotonic=lambda: next(ticks) / 1000))
    config.write_text(TINY.replace("generations: 1", "minutes: 0.02, generations: 10000"), encoding="utf-8")
    assert main(["run", str(config), "--out", str(tmp_path / "out")]) == 0
    assert "0.02 minutes are over" in capsys.readouterr().out
    assert (tmp_path / "out" / "history" / "fitness.csv").exists()
    assert main(["run", str(tmp_path / "out"), "--minutes", "-1"]) == 2
    assert "minutes is -1.0; expected a number above 0" in capsys.readouterr().err


def test_a_run_ends_where_its_budget_has_too_few_steps_for_an_evaluation(tmp_path, capsys, monkeypatch):
    """It ended in a TypeError, since it spoke of minutes that nobody had given."""
    monkeypatch.chdir(tmp_path)
    Path("pole.yaml").write_text(
        "environment: CartPole-v1\nalgorithm: DQN\npopulation: 2\nfitness: return\nsteps_per_generation: 100\n"
        "network: [8]\nhyperparameters: {batch_size: 8}\nseed: 1\n"
    )
    assert main(["run", "pole.yaml", "--max-steps", "730", "--out", "run"]) == 0
    assert "the steps that are left are too few for an evaluation" in capsys.readouterr().out


def test_a_run_that_has_what_it_was_asked_for_says_so(config, tmp_path, capsys):
    assert main(["run", str(config), "--out", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    assert main(["run", str(tmp_path / "out"), "--max-steps", "1", "--generations", "1"]) == 0
    assert "Nothing was trained; max_steps=" in capsys.readouterr().err
    assert main(["run", str(tmp_path / "out"), "--generations", "1"]) == 0
    assert re.search(r"^ +2 ", capsys.readouterr().out, re.MULTILINE)
