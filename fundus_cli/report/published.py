"""How a run compares with published figures, where both were scored under the same protocol."""

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

from fundus_cli.report.run_files import Run, number

OWN_OBSERVER = "second observer, measured in this run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A run beside the published figures of its data set.

    Attributes:
        title: the data set and its split.
        sentence: what the comparison says.
        differences: what keeps the two protocols from being the same; empty when they are.
        rows: (name, dice, kind) from the highest down, kind one of `run`, `human`, `network`.
        notes: what else a reader of the figures must know.
        source: where the figures are from.
    """

    title: str
    sentence: str
    differences: list[str]
    rows: list[tuple[str, float, str]]
    notes: list[str]
    source: str


def published_figures() -> dict[str, Any]:
    """The content of published.json."""
    text = (resources.files("fundus_cli.report") / "published.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def compare_with_published(run: Run) -> Comparison | None:
    """The comparison, or None where nothing is published for the data set or nothing is scored."""
    published = published_figures()
    of_set = published["sets"].get(run.data_name)
    structure = published["structure"]
    dice = number(run.pooled(structure).get("dice"))
    if of_set is None or dice is None:
        return None
    rows = [
        (row["name"], row["dice"], "human" if row.get("human") else "network")
        for row in of_set["rows"]
    ]
    own_observer = run.scores("fov")[structure].get("observer2")
    if isinstance(own_observer, dict):
        measured = number((own_observer.get("pooled") or {}).get("dice"))
        if measured is not None:
            rows.append((OWN_OBSERVER, measured, "human"))
    rows.append(("this run", dice, "run"))
    rows.sort(key=lambda row: -row[1])
    differences = _differences(run, of_set, published)
    return Comparison(
        title=of_set["title"],
        sentence=_sentence(dice, rows, differences),
        differences=differences,
        rows=rows,
        notes=_notes(of_set),
        source=f"{published['source']}. {published['protocol']}.",
    )


def _differences(run: Run, of_set: dict[str, Any], published: dict[str, Any]) -> list[str]:
    found = []
    if run.split != "test":
        found.append(f"scored on {run.split} images, not on test")
    num_images = run.metrics.get("num_images")
    if run.split == "test" and num_images != of_set["num_images"]:
        found.append(f"{num_images} test images instead of {of_set['num_images']}")
    origin = run.metrics.get("threshold_origin")
    if origin not in published["threshold_origins"]:
        told = {"fixed": "fixed beforehand", "given": "given by hand"}.get(str(origin), "unknown")
        found.append(f"the threshold was {told}, not chosen on training or validation images")
    return found


def _sentence(dice: float, rows: list[tuple[str, float, str]], differences: list[str]) -> str:
    networks = [row for row in rows if row[2] == "network"]
    best = networks[0]
    above = sum(row[1] > dice for row in networks)
    said = (
        f"Dice {dice:.3f}, {abs(dice - best[1]):.3f} {'below' if dice < best[1] else 'above'} the "
        f"best published network ({best[0]}, {best[1]:.3f}); {above} of {len(networks)} published "
        "networks are higher"
    )
    humans = [row for row in rows if row[2] == "human"]
    if humans:
        name, human, _ = next((row for row in humans if row[0] == OWN_OBSERVER), humans[0])
        said += f"; {'above' if dice > human else 'below'} the {name} ({human:.3f})"
    if differences:
        said += ". Not the same protocol: " + "; ".join(differences)
    return said + "."


def _notes(of_set: dict[str, Any]) -> list[str]:
    half = [
        f"{row['name']} {row['dice_half_size']:.3f}"
        for row in of_set["rows"]
        if "dice_half_size" in row
    ]
    return [f"At half size the same networks reach: {', '.join(half)}."] if half else []
