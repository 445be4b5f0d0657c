"""Sweeps beyond a grid: Optuna, jobs side by side, submitit's local executor, folds."""

import csv
import importlib.util
from pathlib import Path

import pytest
from conftest import RunCommand, small

from fundus_cli.cli.sweep import PLUGINS, check_plugins, ready_values
from fundus_cli.errors import ConfigError


def needs(module: str) -> pytest.MarkDecorator:
    there = importlib.util.find_spec("hydra_plugins") is not None
    there = there and importlib.util.find_spec(f"hydra_plugins.{module}") is not None
    return pytest.mark.skipif(not there, reason=f"{module} is not installed")


def sweep_arguments(data: Path, *more: str) -> list[str]:
    return ["-m", f"data.root={data}", *small("epochs=1"), "hydra.sweep.dir=sweep", *more]


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep" / "leaderboard.csv").open() as file:
        return list(csv.DictReader(file))


def test_ready_values_stand_back_behind_those_given_by_hand() -> None:
    lines = ready_values(["hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "epochs=1"])
    assert "hydra.sweeper.direction=maximize" in lines
    assert "hydra.sweeper.sampler.seed=0" in lines
    assert "hydra.sweeper.max_failure_rate=1.0" in lines
    assert not any("n_trials" in line for line in lines)
    assert ready_values(["hydra/launcher=joblib"]) == ["hydra.launcher.n_jobs=2"]
    assert ready_values(["epochs=1,2"]) == []


@pytest.mark.parametrize("choice", PLUGINS)
def test_a_missing_plugin_is_named_with_how_to_get_it(
    choice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PLUGINS, choice, ("a-plugin-nobody-has", PLUGINS[choice][1]))
    with pytest.raises(ConfigError, match=r"a-plugin-nobody-has.*pip install 'fundus-cli\["):
        check_plugins([choice])


@needs("hydra_optuna_sweeper")
def test_a_search_needs_a_score_to_choose_by(command: RunCommand, tmp_path: Path) -> None:
    result = command(
        *("train", "-m", "hydra/sweeper=optuna", "optimizer.lr=interval(0.001,0.1)"),
        *("data=chasedb1", "data.root=x"),
    )
    assert result.returncode == 2
    assert "no images are held out; add data.val_fraction" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "outputs").exists()


def test_a_sweeper_may_not_be_given_code(command: RunCommand) -> None:
    result = command("train", "-m", "+hydra.sweeper.custom_search_space=os.system", "epochs=1")
    assert result.returncode == 2
    assert "cannot be set" in result.stderr


@pytest.mark.slow
@needs("hydra_optuna_sweeper")
def test_optuna_asks_for_the_same_jobs_again(
    command: RunCommand, tmp_path: Path, shared_tiny_set: Path
) -> None:
    arguments = sweep_arguments(
        shared_tiny_set,
        *("hydra/sweeper=optuna", "hydra.sweeper.n_trials=2"),
        *("optimizer.lr=tag(log,interval(0.001,0.1))", "loss=choice(bce,bce_dice)"),
    )
    result = command("train", *arguments, timeout=250)
    assert result.returncode == 0, result.stderr
    rows = rows_of(tmp_path)
    assert [row["status"] for row in rows] == ["done", "done"]
    rates = [float(row["optimizer.lr"]) for row in rows]
    assert all(0.001 <= rate <= 0.1 for rate in rates)
    assert rates[0] != rates[1]
    best = max(float(row["val_dice"]) for row in rows)
    assert f"best_value: {best}" in (tmp_path / "sweep" / "optimization_results.yaml").read_text()
    again = command("train", *arguments, timeout=250)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("already complete") == 2


@pytest.mark.slow
@needs("hydra_optuna_sweeper")
def test_a_search_in_which_every_job_fails_is_listed(
    command: RunCommand, tmp_path: Path, shared_tiny_set: Path
) -> None:
    arguments = sweep_arguments(
        shared_tiny_set,
        *("hydra/sweeper=optuna", "hydra.sweeper.n_trials=1", "optimizer=sgd", "batch_size=2"),
        *("optimizer.lr=interval(1e29,1e30)", "scheduler=constant"),
    )
    result = command("train", *arguments, timeout=250)
    assert result.returncode == 7, result.stderr
    assert "Traceback" not in result.stderr
    (row,) = rows_of(tmp_path)
    assert (row["status"], "gradient norm" in row["reason"]) == ("failed", True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param("joblib", marks=needs("hydra_joblib_launcher")),
        pytest.param("submitit_local", marks=needs("hydra_submitit_launcher")),
    ],
)
def test_jobs_in_other_processes_are_listed_and_one_that_fails_costs_itself(
    command: RunCommand, tmp_path: Path, shared_tiny_set: Path, launcher: str
) -> None:
    arguments = sweep_arguments(
        shared_tiny_set,
        *("optimizer=sgd", "scheduler=constant", "batch_size=2", f"hydra/launcher={launcher}"),
        "optimizer.lr=0.1,1e30",
    )
    result = command("train", *arguments, timeout=250)
    assert result.returncode == 7, result.stderr
    assert [row["status"] for row in rows_of(tmp_path)] == ["done", "failed"]
    assert "gradient norm" in rows_of(tmp_path)[1]["reason"]
    assert "leaderboard: sweep/leaderboard.html" in result.stdout


@pytest.mark.slow
def test_folds_end_in_one_score_of_every_image(
    command: RunCommand, tmp_path: Path, shared_tiny_set: Path
) -> None:
    arguments = sweep_arguments(
        shared_tiny_set, "data.test=null", "data.folds=2", "data.fold=range(2)"
    )
    result = command("train", *arguments, timeout=250)
    assert result.returncode == 0, result.stderr
    assert [row["data.fold"] for row in rows_of(tmp_path)] == ["0", "1"]
    page = (tmp_path / "sweep" / "leaderboard.html").read_text(encoding="utf-8")
    table = page.partition('id="folds"')[2].partition("</table>")[0]
    assert "scored once, by the network of the fold that it was held out from" in table
    assert "<td>2</td><td>6</td>" in table
