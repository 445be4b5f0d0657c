"""Scores of several networks on the same images, their deviation, and the ensemble's scores."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fundus_cli.evaluation.bootstrap import paired_bootstrap
from fundus_cli.evaluation.evaluator import Evaluation
from fundus_cli.evaluation.tally import mean_and_sd

SHOWN = (("dice", "dice"), ("sensitivity", "sens"), ("specificity", "spec"), ("auc_roc", "AUC"))


def with_members(ensemble: Evaluation, members: Mapping[str, Evaluation]) -> Evaluation:
    """Add the scores of the members alone to those of the ensemble.

    Args:
        ensemble: scores of the averaged prediction.
        members: each network's own, by a name of its own, on the same images.
    """
    several = {
        "members": [
            {
                "name": name,
                "threshold": own.protocol.threshold,
                "threshold_origin": own.protocol.threshold_origin,
                "checkpoint_rule": own.protocol.checkpoint_rule,
                "pooled": {
                    region: {structure: s["pooled"] for structure, s in structures.items()}
                    for region, structures in own.regions.items()
                },
                "ensemble_minus_member": {
                    structure: _difference(ensemble, own, structure)
                    for structure in own.regions["fov"]
                },
            }
            for name, own in members.items()
        ],
        "over_members": {
            region: {
                structure: _spread([own.pooled(structure, region) for own in members.values()])
                for structure in structures
            }
            for region, structures in ensemble.regions.items()
        },
    }
    return replace(ensemble, several=several)


def _difference(ensemble: Evaluation, member: Evaluation, structure: str) -> dict[str, Any]:
    difference, low, high, p = paired_bootstrap(
        ensemble.counts(structure), member.counts(structure)
    )
    return {"dice": difference, "interval_95": [low, high], "p_value": p}


def _spread(pooled: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float | int]]:
    return {name: mean_and_sd([own[name] for own in pooled]) for name in pooled[0]}


def member_rows(ensemble: Evaluation) -> list[dict[str, Any]]:
    """Rows of members.csv: the members, their mean and deviation, and the ensemble."""
    rows: list[dict[str, Any]] = []
    for region, structures in ensemble.regions.items():
        for structure, summary in structures.items():
            where = {"structure": structure, "region": region}
            for member in ensemble.several["members"]:
                own = member["pooled"][region][structure]
                chosen = {key: member[key] for key in ("threshold", "threshold_origin")}
                rows.append({"name": member["name"], **where, **chosen, **own})
            spread = ensemble.several["over_members"][region][structure]
            for key in ("mean", "sd"):
                values = {name: found[key] for name, found in spread.items()}
                rows.append({"name": f"{key} of members", **where, **values})
            chosen = {
                "threshold": ensemble.protocol.threshold,
                "threshold_origin": ensemble.protocol.threshold_origin,
            }
            rows.append({"name": "ensemble", **where, **chosen, **summary["pooled"]})
    return rows


def member_table(ensemble: Evaluation) -> str:
    """The members one by one, their spread and the ensemble inside the field of view."""
    rows = [row for row in member_rows(ensemble) if row["region"] == "fov"]
    several_structures = len({row["structure"] for row in rows}) > 1
    names = [
        f"{row['name']}, {row['structure']}" if several_structures else str(row["name"])
        for row in rows
    ]
    width = max(22, *(len(name) + 2 for name in names))
    lines = [
        f"{'alone and together, fov':{width}}"
        + "".join(f"{label:>8}" for _, label in SHOWN)
        + f"{'threshold':>12}"
    ]
    for name, row in zip(names, rows, strict=True):
        cells = "".join(f"{row[key]:>8.4f}" for key, _ in SHOWN)
        threshold = f"{row['threshold']:>12.4f}" if "threshold" in row else ""
        lines.append(f"{name:{width}}{cells}{threshold}")
    return "\n".join(lines)
