"""The accounting of tests/benchmarks/hpo.py: what counts, what is run again, and what the table makes of it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from evolab.reporting.certificate import iqm

BENCHMARKS = str(Path(__file__).parent / "benchmarks")


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)


def wanted(budget=1_000, reach=1, **other):
    return {
        "arm": "evolab",
        "task": "CartPole-v1",
        "seed": 3,
        "budget": budget,
        "limit": reach * budget,
        "minutes": None,
    } | other


def test_the_pages_compare_with_the_same_single_runs():
    """The page said that two tasks had none, while README compared with them."""
    import hpo_tasks

    tree = ast.parse((Path(BENCHMARKS).parents[1] / "tutorials" / "pages" / "charts.py").read_text("utf-8"))
    (told,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "TUNED"
    )
    lines = (Path(BENCHMARKS) / "results" / "hpo" / "runs.jsonl").read_text("utf-8").splitlines()
    measured = {json.loads(line)["task"] for line in lines}
    assert told.keys() >= {name for name in measured if hpo_tasks.TASKS[name].tuned}
    assert told == {name: hpo_tasks.TASKS[name].tuned for name in told}


def acted(env, steps):
    """Act so often, as a library would."""
    env.reset(seed=1)
    for _ in range(steps):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()


def of_value(value):
    """What an arm hands over for a policy that the scripted referee below finds to be worth so much."""
    return lambda: value


class Scripted:
    """Plays nothing: the policy is its own mean return, give or take `spread`."""

    def __init__(self, spread=0.0):
        self.spread, self.played, self.seeds = spread, [], []

    def __call__(self, name, policy, episodes, seed):
        self.played.append(episodes)
        self.seeds.append(tuple(seed.generate_state(2)))
        return [policy + self.spread * (-1) ** index for index in range(episodes)]


def outcome(arm, play=None, **options):
    from hpo_run import one_run

    play = play or Scripted()
    return one_run(wanted(**options), lambda name, task, seed, referee: arm(referee), play=play)


def test_every_step_of_an_environment_counts_and_those_of_the_referee_do_not():
    from hpo_run import one_run

    def arm(name, task, seed, referee):
        acted(gymnasium.make(task.name), 300)  # training
        acted(gymnasium.make(task.name), 50)  # evaluation, or a trial that is given up
        referee.offer(lambda: lambda observation: np.zeros(len(observation), dtype=int), 9.0)
        acted(gymnasium.make(task.name), 10_000)

    run = one_run(wanted(), arm)  # real episodes: always to the left is worth 9 or 10
    assert run["outcome"] == "budget"
    assert run["steps"] is None
    assert run["spent_steps"] == 1_000
    assert [offer["steps"] for offer in run["offers"]] == [350]
    assert run["offers"][0]["episodes"] == 100  # it was in hand at the end
    assert 8 < run["means"]["1.0"] < 11


def test_the_meter_is_out_of_the_environments_again_afterwards():
    outcome(lambda referee: acted(gymnasium.make("CartPole-v1"), 2_000))
    assert gymnasium.spec("CartPole-v1").additional_wrappers == ()


def test_a_run_ends_with_the_first_policy_at_the_target():
    play = Scripted()

    def arm(referee):
        env = gymnasium.make("CartPole-v1")
        acted(env, 400)
        referee.offer(of_value(474.0), 500.0)  # promises more than it keeps
        acted(env, 100)
        referee.offer(of_value(476.0), 480.0)
        pytest.fail("went on after it was solved")

    run = outcome(arm, play)
    assert (run["outcome"], run["steps"], run["spent_steps"]) == ("solved", 500, 500)
    assert run["means"] == {"0.1": None, "0.3": None, "1.0": 476.0}
    assert play.played == [20, 20, 80]
    assert len(set(play.seeds)) == 3  # fresh episodes each time


def test_what_is_in_hand_at_a_mark_was_offered_before_it():
    play = Scripted()

    def arm(referee):
        env = gymnasium.make("CartPole-v1")
        for value, steps in ((10.0, 90), (20.0, 150), (30.0, 100)):
            acted(env, steps)
            referee.offer(of_value(value), value)
        referee.offer(of_value(999.0), 29.0)  # by its own estimate no better: not taken in hand
        acted(env, 2_000)

    run = outcome(arm, play)
    assert run["means"] == {"0.1": 10.0, "0.3": 20.0, "1.0": 30.0}
    assert play.played == [20, 80, 20, 80, 20, 80]
    assert [offer["steps"] for offer in run["offers"]] == [90, 240, 340]


def test_near_the_target_all_hundred_episodes_decide():
    def arm(referee):
        for value in (470.0, 460.0):
            referee.offer(of_value(value), 475.0)

    run = outcome(arm, play := Scripted(spread=20.0))
    assert play.played == [
        20,
        80,
        20,
        80,
    ]  # 470 +- 4.6 after twenty; 460 only because it was in hand at the end
    assert [offer["episodes"] for offer in run["offers"]] == [100, 100]
    assert run["steps"] is None

    hopeless = outcome(
        lambda referee: [referee.offer(of_value(460.0), 475.0) for _ in range(2)], play := Scripted(20.0)
    )
    assert play.played == [20, 20, 80]
    assert hopeless["offers"][0]["episodes"] == 20


def test_no_library_swallows_the_end():
    def arm(referee):
        while True:
            try:
                acted(gymnasium.make("CartPole-v1"), 10_000)
            except Exception:
                pytest.fail("the end was an Exception")

    assert outcome(arm)["outcome"] == "budget"


def test_time_ends_a_run_and_rest_is_no_time():
    from hpo_referee import Meter, Over

    now = [0.0]
    meter = Meter(limit=10**6, minutes=1.0, clock=lambda: now[0])
    now[0] = 59.0
    with meter.resting():
        now[0] = 1_000.0
        assert meter.seconds == 59.0
        meter.count()
    assert (meter.seconds, meter.steps) == (59.0, 0)
    meter.count()
    now[0] += 2.0
    for _ in range(63):
        meter.count()
    with pytest.raises(Over, match="time"):  # the clock is read once in 64 steps
        meter.count()


def test_a_population_that_diverged_is_a_run_without_success():
    def arm(referee):
        raise RuntimeError("all 4 agents have diverged: their weights are not finite")

    run = outcome(arm)
    assert (run["outcome"], run["steps"]) == ("failed", None)


def test_evolab_s_own_arm_counts_to_the_step_and_says_nothing_it_needs_not():
    import hpo_evolab
    from hpo_run import one_run

    run = one_run(wanted(1_010), hpo_evolab.run)
    assert (run["outcome"], run["spent_steps"]) == ("budget", 1_010)
    assert set(run["said"]) <= {"algorithm", "draw", "fill"}
    assert hpo_evolab.ARMS["evolab"] == {}


def test_evolab_s_elites_are_offered_and_its_own_count_is_the_meter_s(monkeypatch):
    import hpo_evolab
    from hpo_run import one_run

    monkeypatch.setitem(hpo_evolab.ARMS, "evolab", {"steps_per_generation": 64, "population": 2})
    run = one_run(wanted(2_500), hpo_evolab.run)
    said = run["said"]
    assert run["offers"]
    assert all(8 < offer["mean"] < 475 for offer in run["offers"])
    assert 1_000 < said["counted_steps"] <= 2_500
    rehearsed = said["counted_steps"] - said["training_steps"] - said["evaluation_steps"]
    assert 0 <= rehearsed <= 8  # one step of every vector of environments, when it is made


def options(tmp_path, *arguments):
    import hpo

    return hpo.parsed(["--results", str(tmp_path), "--budget", "1000", *arguments])


def finished(one, steps=500):
    means = {"0.1": 20.0, "0.3": 200.0, "1.0": 480.0 if steps else 300.0}
    spent = steps or one["limit"]
    return one | {
        "outcome": "solved" if steps else "budget",
        "steps": steps,
        "cpu_seconds": steps and steps / 10,
        "spent_steps": spent,
        "spent_cpu_seconds": spent / 10,
        "means": means,
        "offers": [],
        "said": {},
    }


def test_finished_runs_are_not_run_again_and_killed_ones_are(tmp_path, capsys):
    import hpo

    chosen = options(tmp_path, "--arms", "evolab", "random", "--tasks", "CartPole-v1", "--seeds", "1", "2")
    file, started = tmp_path / "runs.jsonl", []

    def start(python, one):
        started.append((one["arm"], one["seed"]))
        if len(started) == 3:
            raise KeyboardInterrupt
        return finished(one)

    with pytest.raises(KeyboardInterrupt):
        hpo.run_all(hpo.planned(chosen), file, None, start)
    assert hpo.run_all(hpo.planned(chosen), file, None, start) == 0
    again = ("evolab", 2)
    assert started == [("evolab", 1), ("random", 1), again, again, ("random", 2)]
    assert hpo.run_all(hpo.planned(chosen), file, None, start) == 0
    assert len(started) == 5
    assert "solved at       500 steps" in capsys.readouterr().out


def test_another_budget_is_another_run(tmp_path):
    import hpo_results

    assert hpo_results.key(wanted(1_000, limit=9)) != hpo_results.key(wanted(2_000, limit=9))


def test_half_a_line_is_no_run_and_does_not_spoil_the_next(tmp_path):
    import hpo_results

    file = tmp_path / "runs.jsonl"
    hpo_results.append(file, finished(wanted(seed=1)))
    whole = json.dumps(finished(wanted(seed=2)))
    with file.open("a") as half:
        half.write(whole[: len(whole) // 2])
    assert [run["seed"] for run in hpo_results.read(file)] == [1]
    hpo_results.append(file, finished(wanted(seed=3)))
    assert [run["seed"] for run in hpo_results.read(file)] == [1, 3]


def test_a_run_that_broke_is_told_and_not_written_down(tmp_path, capsys):
    import hpo

    chosen = options(tmp_path, "--arms", "evolab", "--tasks", "CartPole-v1", "--seeds", "1")

    def start(python, one):
        raise RuntimeError("exit code 1; what it said stands above.")

    assert hpo.run_all(hpo.planned(chosen), tmp_path / "runs.jsonl", None, start) == 1
    assert "CartPole-v1 evolab seed 1: no result, exit code 1" in capsys.readouterr().err
    assert not (tmp_path / "runs.jsonl").exists()


def scripted_python(tmp_path, script):
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def test_the_last_line_that_a_process_prints_is_its_run(tmp_path):
    import hpo

    run = hpo.in_a_process(scripted_python(tmp_path, """echo noise; echo '{"steps": 7}'"""), wanted())
    assert run["steps"] == 7
    assert "machine" in run


def test_a_process_without_a_result_is_an_error(tmp_path):
    import hpo

    with pytest.raises(RuntimeError, match="exit code 3"):
        hpo.in_a_process(scripted_python(tmp_path, "exit 3"), wanted())
    with pytest.raises(RuntimeError, match="exit code 0"):
        hpo.in_a_process(scripted_python(tmp_path, "exit 0"), wanted())


def test_a_run_ends_with_the_process_that_wants_it():
    program = f"import sys; sys.path.insert(0, {BENCHMARKS!r}); import hpo_run; hpo_run.end_with_parent()"
    orphan = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)
    orphan.stdin.close()
    assert orphan.wait(timeout=60) == 1


def test_tasks_without_mujoco_are_named(tmp_path, capsys, monkeypatch):
    import hpo

    monkeypatch.setattr(hpo, "has_mujoco", lambda python: False)
    chosen = options(tmp_path, "--arms", "evolab", "--tasks", "Hopper-v5")
    assert hpo.run_all(hpo.planned(chosen), tmp_path / "runs.jsonl", None, None) == 0
    told = capsys.readouterr().out
    assert told.count("Hopper-v5 evolab: left out, mujoco is not installed there") == 1


def test_seeds_and_caps_follow_the_cost_of_a_task(tmp_path):
    import hpo

    plan = list(hpo.planned(hpo.parsed(["--tasks", "CartPole-v1", "Hopper-v5"])))
    seeds = {(one["task"], one["arm"]): [] for one in plan}
    for one in plan:
        seeds[one["task"], one["arm"]].append(one["seed"])
    assert seeds["CartPole-v1", "evolab"] == list(range(1, 11))
    assert seeds["CartPole-v1", "agilerl"] == [1, 2, 3, 4, 5]
    assert seeds["Hopper-v5", "random"] == [1, 2, 3]
    assert seeds["Hopper-v5", "optuna-whole"] == [1]
    assert {one["minutes"] for one in plan if one["task"] == "Hopper-v5"} == {120.0}
    assert {one["limit"] / one["budget"] for one in plan if one["arm"].startswith("optuna")} == {10.0}


def test_evolab_s_own_arms_go_through_a_sweep_and_the_referee_judges_what_it_says(tmp_path, monkeypatch):
    import hpo_evolab
    import hpo_sweep

    short = {"population": 2, "steps_per_generation": 100, "network": [8]}
    monkeypatch.setitem(hpo_evolab.ARMS, "evolab", short)
    monkeypatch.setattr(hpo_sweep, "play", lambda name, policy, episodes, seed: [480.0] * episodes)
    runs = [wanted(400, seed=seed) for seed in (1, 2)] + [wanted(400, arm="optuna-whole")]
    first = hpo_sweep.run_sweep(runs[:1], tmp_path, "local")
    assert [(row["seed"], row["said"], row["mean"], row["solved"]) for row in first] == [
        (1, "over (max_steps)", 480.0, True)
    ]
    assert first[0]["steps"] >= 400
    second = hpo_sweep.run_sweep(runs, tmp_path, "local")
    assert [row["seed"] for row in second] == [2]
    lines = [json.loads(line) for line in (tmp_path / hpo_sweep.FILE).read_text().splitlines()]
    assert lines == first + second


def test_the_figures_of_three_runs():
    import hpo_results

    runs = [
        finished(wanted(seed=seed, limit=10_000), steps) for seed, steps in ((1, 200), (2, 600), (3, None))
    ]
    one = hpo_results.measured(runs)
    assert (one["runs"], one["solved"], one["timed_out"]) == (3, 2, 0)
    assert one["steps"] == (200 + 600 + 10_000) / 3
    assert (one["median_steps"], one["median_cpu_seconds"]) == (600, 60)
    assert one["means"] == {"0.1": 20.0, "0.3": 200.0, "1.0": (480 + 480 + 300) / 3}
    assert [hpo_results.score(run) for run in runs[:2]] == [5.0, 1000 / 600]
    assert hpo_results.score(runs[2]) == pytest.approx((300 - 23.7) / (475 - 23.7) - 1)


def test_a_certificate_spends_what_the_meter_counts_and_ends_where_the_run_does():
    from hpo_referee import Meter, Over, metered

    import evolab as ev

    meter = Meter(10_000)
    with metered("CartPole-v1", meter):
        exp = ev.Experiment("CartPole-v1", "DQN", population=2, num_envs=1, steps_per_generation=10, network=[8],
                            hyperparameters={"batch_size": 8}, search_space={}, seed=1)  # fmt: skip
        exp.fill(20)
        exp.step()
        before = meter.steps
        told = exp.certify(seeds=2, episodes=3)
        assert meter.steps - before == told.steps.total + 2, "and those that examine new environments"
        meter.limit = meter.steps + 30
        with pytest.raises(Over):
            exp.certify(seeds=2, episodes=3)


def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end():
    import hpo_results

    assert hpo_results.interquartile_mean([1, 900, 4, 2, 3, -50, 5, 6]) == (2 + 3 + 4 + 5) / 4
    values = np.random.default_rng(0).normal(size=11)
    assert hpo_results.interquartile_mean(values) == pytest.approx(iqm(values)), "as a certificate has it"


def test_of_optuna_s_two_the_better_counts_seed_by_seed():
    import hpo_results

    runs = [
        finished(wanted(arm="optuna-quarter", seed=1), None),
        finished(wanted(arm="optuna-whole", seed=1), 900),
        finished(wanted(arm="optuna-quarter", seed=2), 300),
        finished(wanted(arm="optuna-whole", seed=2), 700),
    ]
    found = hpo_results.grouped(runs)["CartPole-v1"]
    assert [run["steps"] for run in found["optuna"]] == [900, 300]


def test_of_a_task_the_largest_budget_counts_and_then_the_longest_run():
    import hpo_results

    runs = [
        finished(wanted(2_000, seed=1, minutes=None), 100),
        finished(wanted(2_000, seed=1, minutes=5.0), 200),
        finished(wanted(2_000, seed=2, limit=9_000), 300),
        finished(wanted(2_000, seed=2), 400),
        finished(wanted(1_000, seed=3), 500),
    ]
    found = hpo_results.grouped(runs)["CartPole-v1"]
    assert [run["steps"] for run in found["evolab"]] == [100, 300]


def test_no_policy_yet_is_worth_what_random_actions_are():
    import hpo_results

    runs = [finished(wanted(seed=seed)) for seed in (1, 2)]
    runs[0]["means"] = {"0.1": None, "0.3": None, "1.0": 480.0}
    runs[1]["means"] = {"0.1": None, "0.3": 100.0, "1.0": 480.0}
    assert hpo_results.measured(runs)["means"] == {"0.1": None, "0.3": (23.7 + 100) / 2, "1.0": 480.0}


def test_the_table_says_what_can_be_said_and_what_to_install(monkeypatch, capsys):
    import hpo_results
    import hpo_table

    monkeypatch.setitem(sys.modules, "rliable", None)
    runs = [
        finished(wanted(seed=1), 200),
        finished(wanted(seed=2), 600),
        finished(wanted(seed=3), None),
        finished(wanted(arm="optuna-whole", seed=1, limit=10_000), None),
    ]
    with pytest.raises(SystemExit, match="pip install rliable"):
        hpo_table.table(hpo_results.grouped(runs))
    printed = capsys.readouterr().out
    assert "| | evolab | 2 of 3 | ≥ 600 | 600 | 60 | 20.0, 200.0, 420.0 |" in printed
    assert "| CartPole-v1 | 600 | > 10 000 | < 0.060 | - | 30 000 | 0.02 | 2 of 3 |" in printed
