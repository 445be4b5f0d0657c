"""Find a checkpoint's own images again, and say when others are in their place."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fundus_cli.config import DataConfig
from fundus_cli.data.dataset import Dataset
from fundus_cli.data.templates import ids_in
from fundus_cli.errors import list_names
from fundus_cli.inference.ensembles import Member
from fundus_cli.run.checkpoint import Checkpoint

PLACE_ONLY = {"root", "timeout_s", "cache_gb", "on_bad", "max_megapixels"}
"""Keys below `data` that do not change which files belong to a split, nor how they are read."""


def rooted(data: DataConfig, saved: Checkpoint) -> DataConfig:
    """The data config with a relative root seen from where the checkpoint was trained.

    A run in `outputs/train/mine` below some folder wrote its checkpoint there, so that folder is
    known, wherever the command is typed now.
    """
    if data.root is None or Path(data.root).expanduser().is_absolute():
        return data
    output, run = Path(saved.config.output).parts, saved.path.absolute().parent.parts
    if ".." in output or run[-len(output) :] != output:
        return data
    root = Path(*run[: -len(output)]) / data.root
    is_elsewhere = root.exists() and root.resolve() != Path(data.root).resolve()
    return replace(data, root=str(root)) if is_elsewhere else data


def held_out_before(saved: Checkpoint, changes: Mapping[str, object]) -> Collection[str]:
    """The ids of val in training, whatever this version of the program would hold out.

    Empty where a key below `data` was typed that may choose another val.
    """
    if not changes.keys() <= PLACE_ONLY:
        return ()
    return ids_in(saved.config.data.train.image, saved.manifest.get("val", {}))


def other_files(
    saved: Checkpoint, dataset: Dataset, splits: Sequence[str], changes: Mapping[str, object]
) -> list[str]:
    """A warning for each split whose files are not those of training.

    Args:
        saved: the checkpoint, which knows the sha256 of every file.
        dataset: what was read now.
        splits: the splits to score.
        changes: keys below `data` that were typed; where one of them chooses other files or reads
            them in another way, there is nothing to compare.
    """
    if not changes.keys() <= PLACE_ONLY:
        return []
    warnings, now = [], dataset.manifest()
    for split in splits:
        before, after = saved.manifest.get(split, {}), now.get(split, {})
        kinds = {
            "changed": [n for n in before.keys() & after.keys() if before[n] != after[n]],
            "missing": before.keys() - after.keys(),
            "new": after.keys() - before.keys(),
        }
        found = [f"{len(n)} {kind} ({list_names(n)})" for kind, n in kinds.items() if n]
        if before and found:
            warnings.append(
                f"warning: these are not the files of {split} that training saw below "
                f"{saved.config.data.root}: {', '.join(found)}; data.root={dataset.root} is scored"
            )
    return warnings


def seen_in_training(members: Sequence[Member], split: str) -> list[str]:
    """Warnings about images to score that were used in a network's training."""
    warnings = []
    samples = members[0].samples
    for member in members:
        whose = f"{member.name}: " if len(members) > 1 else ""
        chose = set(member.saved.manifest.get("val", {}).values())
        for used, hashes, did in (
            ("train", member.saved.learned_from, "were trained on"),
            ("val", chose, "chose the checkpoint and the threshold"),
        ):
            seen = [sample.id for sample in samples if sample.file_hash in hashes]
            if seen and not (used == split == "val"):
                warnings.append(
                    f"warning: {whose}{len(seen)} of these images {did}, so their score says "
                    f"{'nothing' if used == 'train' else 'too much'} about new ones: "
                    f"{', '.join(seen)}"
                )
    return warnings
