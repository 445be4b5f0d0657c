"""One row of the table of results, run again and printed beside its target.

    python benchmarks/accuracy.py ROW [key=value ...] --data path/to/data [--seeds 0 1 2]

`--data` is the folder that holds CHASE_DB1/ and HRF/. Each seed is one run of fundus-train below
outputs/accuracy/<row>/ that resumes where it was stopped; rows that test on another set score the
same runs with fundus-eval. Scores are pooled over the pixels inside the field of view of the test
images at native size. Prints mean and sample deviation over seeds, minutes of training, the
target and the published figure, and writes the same as JSON beside the runs.
"""

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from fundus_cli.config.overrides import quoted


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        train: overrides of the training run; {data} is the folder of data sets.
        begins_with: the row whose first seed's weights it begins with; that one is trained first.
        test: overrides for fundus-eval on another set; empty: the run's own test split.
        metric: `dice` or `auc_roc`.
        target: what `metric` should reach as a mean over seeds.
        auc_target: what AUC-ROC should reach too, where the table asks for it.
        published: the best trustworthy figure known, and where it is from.
        minutes: training time in which the target is meant to be reached.
    """

    train: tuple[str, ...]
    begins_with: str | None = None
    test: tuple[str, ...] = ()
    metric: str = "dice"
    target: float
    auc_target: float | None = None
    published: str = ""
    minutes: float | None = None


CHASE = ("data=chasedb1", "data.root={data}/CHASE_DB1")
HRF = ("data=hrf", "data.root={data}/HRF")
LONGER = ("epochs=40", "ema_decay=0.998")
ADAMW = ("optimizer=adamw", "optimizer.lr=0.01")
FINE = ("data.fov_diameter_px=1320", "augment.zoom=0.833")
DEEPDRAW = "bob.ip.binseg (deepdraw) tables, Little W-Net"
FROM_HRF = ".648, bob.ip.binseg (deepdraw) tables, U-Net at 768 px"
ROWS = {
    "chase": Row(
        train=("experiment=vessels", *CHASE),
        target=0.832,
        auc_target=0.987,
        published=f".820, {DEEPDRAW}",
        minutes=30,
    ),
    "hrf": Row(
        train=("experiment=vessels_fine", *HRF),
        target=0.825,
        auc_target=0.984,
        published=f".814 at half size, {DEEPDRAW}",
        minutes=60,
    ),
    "chase_small": Row(
        train=("experiment=vessels", *CHASE),
        target=0.824,
        published=f".820 with 68,000 parameters, {DEEPDRAW}",
        minutes=30,
    ),
    "hrf_small": Row(
        train=("experiment=vessels", *FINE, *LONGER, *HRF),
        target=0.820,
        published=f".814 at half size with 68,000 parameters, {DEEPDRAW}",
        minutes=60,
    ),
    "hrf_vessels": Row(
        train=("experiment=vessels", *HRF),
        target=0.820,
        published=f".814 at half size with 68,000 parameters, {DEEPDRAW}",
        minutes=60,
    ),
    "hrf_to_chase": Row(
        train=("experiment=vessels", *HRF),
        test=CHASE,
        target=0.750,
        published=FROM_HRF,
    ),
    "hrf_to_chase_adamw": Row(
        train=("experiment=vessels", *ADAMW, *LONGER, *HRF),
        test=CHASE,
        target=0.750,
        published=FROM_HRF,
    ),
    "hrf_to_chase_drawn": Row(
        train=("experiment=vessels", *HRF),
        begins_with="demo_to_chase",
        test=CHASE,
        target=0.750,
        published=FROM_HRF,
    ),
    "demo_to_chase": Row(
        train=("experiment=vessels_demo",),
        test=CHASE,
        metric="auc_roc",
        target=0.93,
        minutes=10,
    ),
    "first_useful": Row(train=("experiment=vessels", *CHASE, "epochs=8"), target=0.78, minutes=3),
}
SHARED_RUNS = {"hrf_to_chase": "hrf_vessels", "chase_small": "chase"}
"""Rows that score the runs of another row."""


def run(program: str, *overrides: str) -> None:
    """One command, its output on ours; ends the benchmark when it fails."""
    subprocess.run([sys.executable, "-m", "fundus_cli", program, *overrides], check=True)


def one_seed(name: str, row: Row, seed: int, data: Path, more: list[str]) -> dict[str, float]:
    """Train (or resume, or find finished) one seed and return its scores."""
    folder = Path("outputs/accuracy") / SHARED_RUNS.get(name, name) / f"seed-{seed}"
    filled = [fill(override, data) for override in row.train]
    if row.begins_with is not None:
        first = Path("outputs/accuracy") / row.begins_with / "seed-0"
        before = [fill(override, data) for override in ROWS[row.begins_with].train]
        run("train", *before, "seed=0", f"output={first}", "resume=auto")
        filled.append(quoted("init_from", str(first)))
    run("train", *filled, f"seed={seed}", f"output={folder}", "resume=auto", *more)
    scored = folder
    if row.test:
        scored = folder / f"on-{name}"
        if not (scored / "metrics.json").exists():
            tested = [fill(override, data) for override in row.test]
            run("eval", f"checkpoint={folder}", *tested, f"output={scored}", "overlays=0")
    metrics = json.loads((scored / "metrics.json").read_text())
    fov = next(p for p in metrics["protocols"] if p["region"] == "fov")
    pooled = fov["structures"]["vessel"]["pooled"]
    summary = json.loads((folder / "summary.json").read_text())
    return {
        "dice": pooled["dice"],
        "auc_roc": pooled["auc_roc"],
        "threshold": metrics["threshold"],
        "train_minutes": summary["train_s"] / 60,
    }


def fill(override: str, data: Path) -> str:
    """An override with the folder of data sets put in, quoted as the command line wants it."""
    key, _, value = override.partition("=")
    return quoted(key, value.format(data=data)) if "{data}" in value else override


def main() -> None:
    """Run one row and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("row", choices=ROWS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_intermixed_args()
    row = ROWS[options.row]
    scores = [
        one_seed(options.row, row, seed, options.data.resolve(), options.overrides)
        for seed in options.seeds
    ]
    mean = {key: statistics.mean(s[key] for s in scores) for key in scores[0]}
    sd = {
        key: statistics.stdev(s[key] for s in scores) if len(scores) > 1 else None
        for key in scores[0]
    }
    result = {
        "row": options.row,
        "seeds": options.seeds,
        "overrides": options.overrides,
        **asdict(row),
        "mean": mean,
        "sd": sd,
        "each": scores,
    }
    print(f"\n{options.row}: {len(scores)} seeds, {mean['train_minutes']:.1f} minutes of training")
    for key, target in ((row.metric, row.target), ("auc_roc", row.auc_target)):
        if target is not None:
            spread = "" if sd[key] is None else f" +- {sd[key]:.4f}"
            reached = "reached" if mean[key] >= target else "not reached"
            print(f"  {key:8} {mean[key]:.4f}{spread}   target {target} {reached}")
    if row.published:
        print(f"  published: {row.published}")
    path = Path("outputs/accuracy") / f"{options.row}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"  {path}")


if __name__ == "__main__":
    main()
