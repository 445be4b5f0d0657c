"""Compare runs on the same images, and pool the folds of one setting."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from fundus_cli.evaluation.bootstrap import count_intervals, paired_bootstrap, times_sampled
from fundus_cli.evaluation.counts import Counts
from fundus_cli.report.run_files import Run

MAX_ALL_PAIRS = 12
"""Up to this number of runs every pair is compared; beyond it, the best with each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The paired bootstrap of two runs' pooled Dice."""

    one: str
    other: str
    structure: str
    num_images: int
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledFolds:
    """Held-out images of all folds, each scored once by the network that never saw it."""

    values: dict[str, Any]
    structure: str
    num_folds: int
    num_images: int
    dice: float
    low: float
    high: float


def counts_by_id(run: Run, structure: str) -> dict[str, Counts]:
    """The counts of each image inside the field of view."""
    found = {}
    for row in run.rows:
        values = [v for name in ("tp", "fp", "fn", "tn") if isinstance(v := row.get(name), int)]
        if row.get("structure") == structure and len(values) == 4:
            found[str(row["id"])] = Counts(*values)
    return found


def compare_pairs(names: Sequence[str], runs: Sequence[Run]) -> tuple[list[Pair], list[str]]:
    """Every pair of runs that scored the same images of the same split.

    Args:
        names: what the runs are called, the best first.
        runs: in the same order.

    Returns:
        The comparisons, and a line for each kind of pair that could not be compared.
    """
    scored = [(name, run) for name, run in zip(names, runs, strict=True) if run.rows]
    pairs = list(combinations(scored, 2))
    if len(scored) > MAX_ALL_PAIRS:
        pairs = [(scored[0], other) for other in scored[1:]]
    found, different = [], []
    for (one, run), (other, second) in pairs:
        shared = [name for name in run.structures if name in second.structures]
        for structure in shared:
            a, b = counts_by_id(run, structure), counts_by_id(second, structure)
            if not a or set(a) != set(b) or run.data_name != second.data_name:
                different.append(f"{one} and {other}")
                continue
            ids = sorted(a)
            result = paired_bootstrap([a[i] for i in ids], [b[i] for i in ids])
            found.append(_pair(one, other, structure, len(ids), result))
    return found, list(dict.fromkeys(different))


def _pair(
    one: str, other: str, structure: str, number: int, result: tuple[float, float, float, float]
) -> Pair:
    difference, low, high, p = result
    return Pair(
        one=one,
        other=other,
        structure=structure,
        num_images=number,
        difference=difference,
        low=low,
        high=high,
        p=p,
    )


def pool_folds(values: Mapping[str, Any], runs: Sequence[Run]) -> list[PooledFolds]:
    """One score over the held-out images of a setting's folds.

    Only where every job scored its own fold (split val), no image stands in two of them and
    no fold is missing; a score over some folds would be another number under the same name.

    Args:
        values: the varied keys that the jobs share.
        runs: the jobs of one setting and one seed, all of them done.
    """
    data = [run.config.get("data") for run in runs]
    folds = [(d.get("fold"), d.get("folds")) for d in data if isinstance(d, Mapping)]
    wanted = {(fold, folds[0][1]) for fold in range(folds[0][1] or 0)} if folds else set()
    if not wanted or set(folds) != wanted or len(folds) != len(runs):
        return []
    if any(run.split != "val" for run in runs):
        return []
    pooled = []
    for structure in runs[0].structures:
        by_id: dict[str, Counts] = {}
        total = 0
        for run in runs:
            of_fold = counts_by_id(run, structure)
            total += len(of_fold)
            by_id |= of_fold
        if not by_id or len(by_id) != total:
            continue
        counts = [by_id[name] for name in sorted(by_id)]
        low, high = count_intervals(counts, times_sampled(len(counts)))["dice"]
        pooled.append(
            PooledFolds(
                values=dict(values),
                structure=structure,
                num_folds=len(runs),
                num_images=len(counts),
                dice=sum(counts, Counts.zero()).metrics()["dice"],
                low=low,
                high=high,
            )
        )
    return pooled


def p_text(p: float) -> str:
    """A p-value as it is written in a table."""
    if math.isnan(p):
        return "-"
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"
