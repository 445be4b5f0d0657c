"""Compare a run with published figures of the same data set, split, region and aggregation."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from fundus_cli.report.run_files import Run, number

OWN_OBSERVER = "second observer, measured in this run"
REGIONS = {"fov": "field of view", "whole": "whole image", None: "region not stated"}
AGGREGATIONS = {
    "pooled": "pixels pooled",
    "mean": "mean over images",
    None: "aggregation not stated",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One row of the comparison.

    Attributes:
        name: who reached it.
        dice: of the vessels.
        kind: `run`, `human` or `network`.
        protocol: region and aggregation in words.
        own_dice: Dice of this run in the same region with the same aggregation; None where the
            source does not state both, so that the two cannot be compared.
        source: where the figure is from.
    """

    name: str
    dice: float
    kind: str
    protocol: str
    own_dice: float | None
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A run beside the published figures of its data set and split.

    Attributes:
        title: the data set and its split.
        sentence: the comparison in words.
        differences: what makes the run's protocol another one; empty when it is the same.
        rows: from the highest Dice down.
        notes: what else a reader of the figures must know.
        sources: where the figures are from.
    """

    title: str
    sentence: str
    differences: list[str]
    rows: list[Figure]
    notes: list[str]
    sources: list[str]


def published_figures() -> dict[str, Any]:
    """The content of published.json."""
    text = (resources.files("fundus_cli.report") / "published.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def compare_with_published(run: Run) -> Comparison | None:
    """The comparison; None where nothing is published for the split, or nothing is scored."""
    published = published_figures()
    of_set = published["sets"].get(run.data_name)
    structure = published["structure"]
    dice = number(run.pooled(structure).get("dice"))
    if of_set is None or dice is None:
        return None
    rows = [_figure(run, structure, row) for row in of_set["rows"]]
    rows += _own_observer(run, structure, dice)
    own_protocol = _protocol("fov", "pooled")
    own = Figure(name="this run", dice=dice, kind="run", protocol=own_protocol, own_dice=dice)
    differences = _differences(run, of_set, published)
    return Comparison(
        title=of_set["title"],
        sentence=_sentence(dice, rows, differences),
        differences=differences,
        rows=sorted([*rows, own], key=lambda row: -row.dice),
        notes=_notes(of_set),
        sources=list(dict.fromkeys(row["source"] for row in of_set["rows"])),
    )


def _figure(run: Run, structure: str, row: dict[str, Any]) -> Figure:
    region, aggregation = row["region"], row["aggregation"]
    return Figure(
        name=row["name"],
        dice=row["dice"],
        kind="human" if row.get("human") else "network",
        protocol=_protocol(region, aggregation),
        own_dice=_own_dice(run, structure, region, aggregation),
        source=row["source"],
    )


def _protocol(region: str | None, aggregation: str | None) -> str:
    return f"{REGIONS[region]}, {AGGREGATIONS[aggregation]}"


def _own_dice(
    run: Run, structure: str, region: str | None, aggregation: str | None
) -> float | None:
    """The run's Dice in a region with an aggregation; None where either is unknown."""
    if region is None or aggregation is None:
        return None
    if aggregation == "pooled":
        return number(run.pooled(structure, region).get("dice"))
    per_image = run.scores(region).get(structure, {}).get("per_image")
    dice = per_image.get("dice") if isinstance(per_image, dict) else None
    return number(dice.get("mean")) if isinstance(dice, dict) else None


def _own_observer(run: Run, structure: str, dice: float) -> list[Figure]:
    """The second observer of the run's own images, where there is one."""
    observer = run.scores("fov")[structure].get("observer2")
    pooled = observer.get("pooled") if isinstance(observer, dict) else None
    measured = number(pooled.get("dice")) if isinstance(pooled, dict) else None
    if measured is None:
        return []
    protocol = _protocol("fov", "pooled")
    return [
        Figure(name=OWN_OBSERVER, dice=measured, kind="human", protocol=protocol, own_dice=dice)
    ]


def _differences(run: Run, of_set: dict[str, Any], published: dict[str, Any]) -> list[str]:
    found = []
    if run.split != "test":
        found.append(f"scored on {run.split} images, not on test")
    num_images = run.metrics.get("num_images")
    if run.split == "test" and num_images != of_set["num_images"]:
        found.append(f"{num_images} test images instead of {of_set['num_images']}")
    origin = run.metrics.get("threshold_origin")
    if origin not in published["threshold_origins"]:
        how = {"fixed": "fixed beforehand", "given": "given by hand"}.get(str(origin), "unknown")
        found.append(f"the threshold was {how}, not chosen on training or validation images")
    return found


def _sentence(dice: float, rows: Sequence[Figure], differences: Sequence[str]) -> str:
    networks = [
        (row, row.own_dice) for row in rows if row.kind == "network" and row.own_dice is not None
    ]
    text = f"Dice {dice:.3f}"
    if networks:
        best, own = max(networks, key=lambda pair: pair[0].dice)
        higher = sum(row.dice > own_dice for row, own_dice in networks)
        text += (
            f"; {own:.3f} in the way that the best published network was scored ({best.name}, "
            f"{best.dice:.3f}; {best.protocol}), {abs(own - best.dice):.3f} "
            f"{'below' if own < best.dice else 'above'} it; {higher} of {len(networks)} published "
            "networks are higher, each compared in its own region and aggregation"
        )
    else:
        text += "; no published figure states both its region and its aggregation"
    humans = [row for row in rows if row.kind == "human" and row.own_dice is not None]
    if humans:
        human = next((row for row in humans if row.name == OWN_OBSERVER), humans[0])
        assert human.own_dice is not None
        side = "above" if human.own_dice > human.dice else "below"
        text += f"; {side} the {human.name} ({human.dice:.3f})"
    if differences:
        text += ". Not the same protocol: " + "; ".join(differences)
    return text + "."


def _notes(of_set: dict[str, Any]) -> list[str]:
    half = [
        f"{row['name']} {row['dice_half_size']:.3f}"
        for row in of_set["rows"]
        if "dice_half_size" in row
    ]
    return [f"At half size the same networks reach: {', '.join(half)}."] if half else []
