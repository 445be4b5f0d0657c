"""Load the images of train, val and test for a data config, reporting all problems at once."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fundus_cli.config import DataConfig, OnBad, to_plain
from fundus_cli.data.fov_warnings import fov_warnings
from fundus_cli.data.near_duplicates import duplicates_across_splits, near_duplicates_across_splits
from fundus_cli.data.reading import read_samples
from fundus_cli.data.samples import Sample
from fundus_cli.data.splits import hold_out, person_of
from fundus_cli.data.templates import FileIndex, SampleFiles, match_split
from fundus_cli.errors import ConfigError, DataError, Problems, list_names
from fundus_cli.runtime.timeouts import Timeout, in_time
from fundus_cli.synthetic.write_set import GENERATOR_VERSION, write_demo

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """The samples of each split, and warnings from reading them."""

    structures: tuple[str, ...]
    samples: dict[str, list[Sample]]
    skipped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    root: Path = field(default_factory=Path)

    def manifest(self) -> dict[str, dict[str, str]]:
        """{split: {file below the data set's folder: sha256}}."""
        return {
            split: {name: digest for s in samples for name, digest in sorted(s.hashes.items())}
            for split, samples in self.samples.items()
        }


def resolve_root(
    config: DataConfig, generating: Callable[[int], None] = lambda total: None
) -> Path:
    """The data set's folder; data=demo is generated on first use, with progress to `generating`.

    Raises:
        ConfigError: no data.root is given.
        DataError: the folder does not exist.
        MachineError: its drive does not respond within data.timeout_s.
    """
    if config.demo is not None and config.name == "demo":
        root = Path(config.root).expanduser() if config.root else demo_folder(config)
        if not in_time(root.exists, Timeout.of(config), f"data.root={root}: looking for it"):
            write_demo(root, config.demo, generating)
        return root
    if config.root is None:
        raise ConfigError(
            f"data.root: not given; add the folder of the data set, as in "
            f"data={config.name} data.root=path/to/{config.name}"
        )
    root = Path(config.root).expanduser()
    timeout, looking = Timeout.of(config), f"data.root={root}: looking for it"
    is_there, is_folder = in_time(lambda: (root.exists(), root.is_dir()), timeout, looking)
    if not is_folder:
        state = "is not a folder" if is_there else "does not exist"
        raise DataError(f"data.root={config.root}: {state}")
    return root


def demo_folder(config: DataConfig) -> Path:
    """The folder of the synthetic images with these settings."""
    settings = json.dumps([GENERATOR_VERSION, to_plain(config.demo)], sort_keys=True)
    digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
    return Path("outputs") / "demo" / digest


def load_dataset(
    config: DataConfig,
    splits: Sequence[str] = SPLITS,
    progress: Callable[[int], None] = lambda total: None,
    generating: Callable[[int], None] = lambda total: None,
) -> Dataset:
    """Pair, read and check every image of the wanted splits.

    Args:
        config: the data config.
        splits: which of train, val and test to read.
        progress: called once per image read with the number of images in all.
        generating: likewise for each image that data=demo generates.

    Raises:
        ConfigError, DataError: with everything that is wrong.
        MachineError: listing the folder or reading an image takes longer than data.timeout_s.
    """
    root = resolve_root(config, generating)
    files = in_time(
        lambda: _find_files(config, root, splits),
        Timeout.of(config),
        f"data.root={root}: listing its files",
    )
    if "train" in files:
        files["train"], files["val"] = cut_val(files["train"], config)
    wanted = {split: files.get(split, []) for split in SPLITS if split in splits}
    samples, bad = _read_all(wanted, config, root, progress)
    if config.on_bad is OnBad.stop:
        bad.raise_if_any(
            f"data.root={root}: files that cannot be used (data.on_bad=skip skips them)"
        )
    skipped = tuple(line for _, names in bad.items() for line in names)
    _refuse_duplicates(samples)
    for split in ("train",) if "train" in splits else ():
        if not samples[split]:
            raise DataError(f"data.root={root}: no usable image is left in {split}")
    warnings = (
        *fov_warnings(samples, config),
        *_content_warnings(samples, config),
        *_leak_warnings(samples, config),
    )
    return Dataset(
        structures=tuple(config.structures),
        samples=samples,
        skipped=skipped,
        warnings=warnings,
        root=root,
    )


def _find_files(
    config: DataConfig, root: Path, splits: Sequence[str]
) -> dict[str, list[SampleFiles]]:
    """The files of the wanted splits; those of val are still part of train.

    Raises:
        DataError: with everything that does not match.
    """
    problems = Problems()
    index = FileIndex(root)
    files: dict[str, list[SampleFiles]] = {}
    if {"train", "val"} & set(splits):
        files["train"] = match_split(index, config.train, "train", problems)
    if "test" in splits and config.test is not None:
        files["test"] = match_split(index, config.test, "test", problems)
    elif tuple(splits) == ("test",):
        raise DataError(
            f"data={config.name}: has no test split; score split=train, split=val or split=all"
        )
    problems.raise_if_any(f"data.root={root}: the files do not fit data={config.name}")
    return files


def cut_val(
    files: list[SampleFiles], config: DataConfig
) -> tuple[list[SampleFiles], list[SampleFiles]]:
    """The images of train as (train, val)."""
    held_out = hold_out(
        [f.id for f in files],
        person=config.person,
        val_fraction=config.val_fraction,
        folds=config.folds,
        fold=config.fold,
    )
    return [f for f in files if f.id not in held_out], [f for f in files if f.id in held_out]


def _read_all(
    files: dict[str, list[SampleFiles]],
    config: DataConfig,
    root: Path,
    progress: Callable[[int], None],
) -> tuple[dict[str, list[Sample]], Problems]:
    jobs = [(split, f) for split, of_split in files.items() for f in of_split]
    samples: dict[str, list[Sample]] = {split: [] for split in files}
    problems = Problems()
    results = read_samples([f for _, f in jobs], config, root, progress)
    for (split, _), result in zip(jobs, results, strict=True):
        if isinstance(result, Sample):
            samples[split].append(result)
        else:
            found = f" [{result.found}]" if result.found else ""
            problems.add(result.kind, result.path.relative_to(root).as_posix() + found)
    return samples, problems


def _refuse_duplicates(samples: dict[str, list[Sample]]) -> None:
    """Raise DataError if the same image is in two splits, under any name."""
    problems = Problems()
    for names in duplicates_across_splits(samples):
        problems.add(
            "the same image in two splits, so a score would be meaningless; remove one", names
        )
    problems.raise_if_any("data: leakage between splits")


def _content_warnings(samples: dict[str, list[Sample]], config: DataConfig) -> list[str]:
    warnings = []
    for channel, structure in enumerate(config.structures):
        everything = [s for of_split in samples.values() for s in of_split]
        inside = sum(int(s.fov_mask.sum()) for s in everything)
        covered = sum(float(s.target[channel][s.fov_mask].sum()) / 255 for s in everything)
        if inside and covered == 0:
            warnings.append(f"{structure}: every mask is empty; nothing can be learned from them")
        elif inside and covered > 0.5 * inside:
            warnings.append(
                f"{structure}: masks cover {covered / inside:.0%} of the field of view; inverted? "
                "data.mask_foreground sets which value counts"
            )
    return warnings


def _leak_warnings(samples: dict[str, list[Sample]], config: DataConfig) -> list[str]:
    similar = near_duplicates_across_splits(samples)
    warnings = [f"warning: near-duplicates in two splits? {list_names(similar)}"] if similar else []
    if config.person is None:
        return warnings
    splits_by_person = defaultdict(set)
    for split, of_split in samples.items():
        for sample in of_split:
            splits_by_person[person_of(sample.id, config.person)].add(split)
    shared = sorted(name for name, splits in splits_by_person.items() if len(splits) > 1)
    if shared:
        warnings.append(f"warning: images of one person in several splits: {list_names(shared)}")
    return warnings
