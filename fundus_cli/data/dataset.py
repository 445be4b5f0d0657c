"""Load the images of train, val and test for a data config, reporting all problems at once."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from fundus_cli.config import DataConfig, DemoConfig, OnBad, to_plain
from fundus_cli.data.folder_contents import unread_in
from fundus_cli.data.fov_warnings import fov_warnings
from fundus_cli.data.mask_content import ALLOWED, judge_masks
from fundus_cli.data.near_duplicates import duplicates_across_splits, near_duplicates_across_splits
from fundus_cli.data.reading import read_samples
from fundus_cli.data.samples import Sample
from fundus_cli.data.splits import check_persons, hold_out, person_of
from fundus_cli.data.templates import FileIndex, SampleFiles, folder_of, match_split
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
    config: DataConfig, generating: Callable[[int], None] | None = lambda total: None
) -> Path:
    """The data set's folder; data=demo is generated on first use.

    Args:
        config: the data config.
        generating: called once per image that is generated; None: nothing is generated, as where
            the config is a checkpoint's, which may not decide where to write how many images.

    Raises:
        ConfigError: no data.root is given.
        DataError: the folder does not exist.
        MachineError: its drive does not respond within data.timeout_s.
    """
    if config.demo is not None and config.name == "demo":
        root = Path(config.root).expanduser() if config.root else demo_folder(config)
        if not in_time(root.exists, Timeout.of(config), f"data.root={root}: looking for it"):
            if generating is None:
                raise DataError(_how_to_generate(config, root))
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
        seen_from = "" if root.is_absolute() else f" (looked for it in {Path.cwd()})"
        raise DataError(f"data.root={config.root}: {state}{seen_from}")
    return root


def _how_to_generate(config: DataConfig, root: Path) -> str:
    given = [f"data.root={config.root}"] if config.root else []
    given += [f"data.demo.{f.name}={getattr(config.demo, f.name)}" for f in fields(DemoConfig)]
    return (
        f"{root}: the synthetic images that the checkpoint was trained on are not here; run the "
        f"command where they are, or add data=demo {' '.join(given)} to generate them"
    )


def demo_folder(config: DataConfig) -> Path:
    """The folder of the synthetic images with these settings."""
    settings = json.dumps([GENERATOR_VERSION, to_plain(config.demo)], sort_keys=True)
    digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
    return Path("outputs") / "demo" / digest


def load_dataset(
    config: DataConfig,
    splits: Sequence[str] = SPLITS,
    progress: Callable[[int], None] = lambda total: None,
    generating: Callable[[int], None] | None = lambda total: None,
    held_out: Collection[str] = (),
) -> Dataset:
    """Pair, read and check every image of the wanted splits.

    Args:
        config: the data config.
        splits: which of train, val and test to read.
        progress: called once per image read with the number of images in all.
        generating: likewise for each image that data=demo generates; None: none is generated.
        held_out: ids of val in the run that is resumed; empty: val is chosen anew.

    Raises:
        ConfigError, DataError: with everything that is wrong.
        MachineError: listing the folder or reading an image takes longer than data.timeout_s.
    """
    root = resolve_root(config, generating)
    files, unread = in_time(
        lambda: _find_files(config, root, splits),
        Timeout.of(config),
        f"data.root={root}: listing its files",
    )
    persons = check_persons([f.id for of_split in files.values() for f in of_split], config.person)
    if "train" in files:
        files["train"], files["val"] = cut_val(files["train"], config, held_out)
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
        *unread,
        *persons,
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
) -> tuple[dict[str, list[SampleFiles]], list[str]]:
    """The files of the wanted splits, those of val still in train, and warnings of others.

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
    templates = {"train": config.train.image, "test": config.test.image if config.test else ""}
    return files, [
        line for split in files for line in _unread_warnings(root, split, templates[split])
    ]


def _unread_warnings(root: Path, split: str, template: str) -> list[str]:
    """A warning of images beside those that a split reads, where it has a folder of its own."""
    folder = folder_of(template)
    if not folder or "/" in template.removeprefix(f"{folder}/"):
        return []
    unread = unread_in(root / folder).images()
    return [f"warning: {split}: not read in {folder}/: {unread}"] if unread else []


def cut_val(
    files: list[SampleFiles], config: DataConfig, earlier: Collection[str] = ()
) -> tuple[list[SampleFiles], list[SampleFiles]]:
    """The images of train as (train, val).

    Args:
        files: the images.
        config: how many to hold out.
        earlier: ids that a run holds out which is resumed. They stay in val, whatever version of
            this program chose them.
    """
    ids = [f.id for f in files]
    held_out = set(earlier) & set(ids) or hold_out(
        ids,
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


def _content_warnings(samples: dict[str, list[Sample]], config: DataConfig) -> tuple[str, ...]:
    """Warnings about the masks.

    Raises:
        DataError: those of train hold nothing, or nearly everything, and are not allowed to.
    """
    content = judge_masks(samples, config.structures)
    if content.refused and not config.allow_odd_masks:
        raise DataError("\n".join([*content.refused, f"nothing was trained; {ALLOWED}"]))
    return (*(f"warning: {line}" for line in content.refused), *content.warnings)


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
