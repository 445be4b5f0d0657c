"""Judge what the masks of each split hold: nothing, nearly everything, or something outside."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fundus_cli.data.samples import Sample
from fundus_cli.errors import list_names

INVERTED_SHARE = 0.5
"""Masks that cover a larger share of the field of view on every image are probably inverted."""

EFFECT_OF_EMPTY = {
    "train": "nothing can be learned",
    "val": "it chooses no threshold (0.5 stays) and no epoch (the last one is kept)",
    "test": "its Dice is undefined",
}

ALLOWED = "data.allow_odd_masks=true trains all the same"


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskContent:
    """What the masks of a data set hold.

    Attributes:
        refused: lines about masks from which nothing useful can be learned.
        warnings: lines about masks that can be used but are unusual.
    """

    refused: tuple[str, ...]
    warnings: tuple[str, ...]


def judge_masks(samples: Mapping[str, Sequence[Sample]], structures: Sequence[str]) -> MaskContent:
    """What is odd about the masks of each split and structure, in working order of the splits."""
    refused, warnings = [], []
    for split, of_split in samples.items():
        for channel, structure in enumerate(structures):
            for text, is_fatal in _findings(of_split, channel, EFFECT_OF_EMPTY[split]):
                line = f"{structure}: {split}: {text}"
                if is_fatal and split == "train":
                    refused.append(line)
                else:
                    warnings.append(f"warning: {line}")
    return MaskContent(refused=tuple(refused), warnings=tuple(warnings))


def _findings(
    samples: Sequence[Sample], channel: int, effect_of_empty: str
) -> Iterator[tuple[str, bool]]:
    """(text, whether it concerns every image) of one structure in one split."""
    shares = {s.id: float(s.target[channel][s.fov_mask].mean()) / 255 for s in samples}
    empty = [s for s in samples if shares[s.id] == 0]
    outside = [s.id for s in empty if s.target[channel].any()]
    if outside:
        yield (
            f"{len(outside)} of {len(samples)} masks lie outside the field of view, where nothing "
            "is learned or scored; do they belong to these images? " + list_names(outside),
            len(outside) == len(samples),
        )
    blank = [s.id for s in empty if s.id not in outside]
    if blank and len(blank) == len(samples):
        yield f"every mask is empty, so {effect_of_empty}: {list_names(blank)}", True
    elif blank:
        yield f"{len(blank)} of {len(samples)} masks are empty: {list_names(blank)}", False
    if samples and min(shares.values()) > INVERTED_SHARE:
        mean = sum(shares.values()) / len(shares)
        yield (
            f"every mask covers more than half of the field of view ({mean:.0%} on average); "
            f"inverted? data.mask_foreground says which value counts: {list_names(shares)}",
            True,
        )
