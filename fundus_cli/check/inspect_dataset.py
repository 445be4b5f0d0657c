"""Check a whole data set: match files, inspect every image, then compare images."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from fundus_cli.check import cross_image
from fundus_cli.check import finding_kinds as kinds
from fundus_cli.check.contact_sheet import ContactSheet, layout_for
from fundus_cli.check.findings import Finding, Severity, finding, printable
from fundus_cli.check.inspect_image import Inspected, Inspector, Job
from fundus_cli.check.pairing import Pairs, pairing_findings, suggested_pairs
from fundus_cli.config import DataConfig
from fundus_cli.data.dataset import SPLITS, cut_val
from fundus_cli.data.templates import FileIndex, Pairing, SampleFiles, pair_files
from fundus_cli.errors import DataError
from fundus_cli.runtime.processes import spread
from fundus_cli.runtime.timeouts import Timeout, in_time


@dataclass(slots=True, kw_only=True)
class Survey:
    """The results of checking a data set.

    Attributes:
        pairings: {train or test: its files, paired by id}.
        pairs: {train or test: masks of another name that belong to an image}.
        images: the inspected images, in the order of splits and ids.
        pages: the files of the contact sheet.
    """

    config: DataConfig
    root: Path
    pairings: dict[str, Pairing] = field(default_factory=dict)
    pairs: dict[str, Pairs] = field(default_factory=dict)
    images: list[Inspected] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    pages: list[Path] = field(default_factory=list)

    @property
    def wrong(self) -> list[Finding]:
        """Errors and warnings, without notes."""
        return [one for one in self.findings if one.severity is not Severity.note]


def survey(
    config: DataConfig,
    root: Path,
    sheet_folder: Path | None,
    progress: Callable[[int], None],
) -> Survey:
    """Check a data set.

    Args:
        config: which files to read, and how.
        root: the data set's folder.
        sheet_folder: the folder of the contact sheet; None: it is not written.
        progress: called once per image with the number of images in all.

    Raises:
        ConfigError: data.person is not a regular expression.
        MachineError: the contact sheet cannot be written, or the data set's drive does not respond
            within data.timeout_s.
    """
    result = Survey(config=config, root=root)
    timeout = Timeout.of(config)
    jobs = in_time(lambda: _pair(result), timeout, f"data.root={root}: listing its files")
    title = f"{config.name}   {len(jobs)} images"
    layout = layout_for(len(jobs))
    sheet = ContactSheet(sheet_folder or Path(), title, layout, len(jobs))
    inspector = Inspector(config, root, layout.tile_px if sheet_folder is not None else None)
    inspecting = spread(inspector, jobs, timeout, lambda job: f"reading {job.files.image}")
    with closing(inspecting) as inspected:
        for one in inspected:
            if sheet_folder is not None:
                sheet.add(one.tile, *_caption(one, config))
                one.tile = None
            result.images.append(one)
            result.findings += one.findings
            progress(len(jobs))
    sheet.finish()
    result.pages = sheet.paths
    result.findings += [
        *cross_image.unmatched_masks(result.images, root),
        *cross_image.empty_structures(result.images, config.structures),
        *cross_image.copies(result.images, root, config.max_megapixels),
        *cross_image.persons(result.images, config, root),
    ]
    for one in result.images:
        one.unmatched_masks, one.descriptor = [], None
    return result


def _caption(one: Inspected, config: DataConfig) -> tuple[str, Severity | None]:
    """The caption of an image's tile, and the worst finding about the image."""
    files = one.job.files
    lacks = [name for name in config.structures if name not in files.targets]
    text = "".join((f"{one.job.split}  {files.image.name}", *(f"  no {n} mask" for n in lacks)))
    found = {f.severity for f in one.findings}
    if lacks:
        found.add(Severity.error)
    if one.unmatched_masks:
        found.add(Severity.warning)
    worst = next((s for s in (Severity.error, Severity.warning) if s in found), None)
    return printable(text), worst


def _pair(result: Survey) -> list[Job]:
    """Match the files of all splits; unmatched files are inspected too."""
    config, root = result.config, result.root
    index = FileIndex(root)
    files: dict[str, list[SampleFiles]] = {split: [] for split in SPLITS}
    for name, split in (("train", config.train), ("test", config.test)):
        if split is None:
            continue
        try:
            pairing = pair_files(index, split, name)
        except DataError as error:
            result.findings.append(finding(kinds.UNLISTABLE, [], str(error), split=name))
            continue
        pairs = suggested_pairs(pairing)
        result.pairings[name], result.pairs[name] = pairing, pairs
        result.findings += pairing_findings(pairing, pairs, root)
        ids = sorted(pairing.images)
        files[name] = [pairing.files(i) for i in ids if pairing.is_complete(i)]
        if name == "train":
            files["train"], files["val"] = _cut(result, files["train"])
        files[name] += [pairing.files(i) for i in ids if not pairing.is_complete(i)]
    if index.num_junk:
        result.findings.append(finding(kinds.JUNK, [], f"{index.num_junk} files"))
    return [Job(split=split, files=f) for split, of_split in files.items() for f in of_split]


def _cut(
    result: Survey, complete: list[SampleFiles]
) -> tuple[list[SampleFiles], list[SampleFiles]]:
    if not complete:
        return [], []
    try:
        return cut_val(complete, result.config)
    except DataError as error:
        result.findings.append(finding(kinds.VAL_TOO_SMALL, [], str(error), split="train"))
        return complete, []
