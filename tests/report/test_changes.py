"""What differs from the defaults, and the command that makes a run again."""

import shlex

from fundus_cli.report.changes import changed_keys, reproducing_command
from fundus_cli.report.run_files import read_run

from .conftest import MakeRun


def test_defaults_change_nothing(make_run: MakeRun) -> None:
    assert changed_keys(read_run(make_run("run"))) == []


def test_a_choice_is_one_line_and_its_keys_are_compared_with_it(make_run: MakeRun) -> None:
    overrides = ("data=chasedb1", "optimizer=sgd", "optimizer.lr=0.25", "seed=3", "output=x")
    lines = changed_keys(read_run(make_run("run", *overrides)))
    assert lines[:2] == [("data", "demo", "chasedb1"), ("optimizer", "muon", "sgd")]
    rest = {key: value for key, _, value in lines[2:]}
    assert rest == {"optimizer.lr": 0.25, "seed": 3}
    assert next(default for key, default, _ in lines if key == "seed") == 0


def test_the_command_survives_a_shell(make_run: MakeRun) -> None:
    folder = make_run("run", 'data.root="my data; $(x)"', "epochs=3")
    words = shlex.split(reproducing_command(read_run(folder)))
    assert words == ["fundus-train", 'data.root="my data; $(x)"', "epochs=3"]
