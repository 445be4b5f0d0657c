"""Warn where the scale of images is unknown, because no round field of view is visible."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fundus_cli.config import DataConfig
from fundus_cli.data.samples import Sample

MAX_NAMES = 3
"""Number of files that a warning names."""


@dataclass(slots=True, kw_only=True)
class FovTally:
    """Names of images whose field of view leaves the scale or the place open.

    Attributes:
        total: number of images that were added.
        borderless: everything is inside.
        not_round: there is a border, but no circle fits it.
        several: with more than one field of view.
    """

    total: int = 0
    borderless: list[str] = field(default_factory=list)
    not_round: list[str] = field(default_factory=list)
    several: list[str] = field(default_factory=list)

    def add(self, name: str, *, has_border: bool, is_round: bool, num_fields: int) -> None:
        """Count one image."""
        self.total += 1
        if not is_round:
            (self.not_round if has_border else self.borderless).append(name)
        if num_fields > 1:
            self.several.append(name)

    def lines(self, config: DataConfig, split: str = "", group: str = "") -> list[str]:
        """One warning per kind of problem, with the key to set.

        Args:
            config: how the images are prepared.
            split: named at the beginning.
            group: what precedes the key, `data.` or nothing.
        """
        begin = f"warning: {split}: " if split else "warning: "
        scale = _scale(config, group)
        lines = []
        if self.borderless:
            seen = self._counted(self.borderless)
            lines.append(f"{begin}no border of the field of view is visible in {seen}; {scale}")
        if self.not_round:
            seen = self._counted(self.not_round)
            lines.append(f"{begin}the field of view is not round in {seen}; {scale}")
        if self.several:
            lines.append(
                f"{begin}several fields of view in {self._counted(self.several)}; only one of "
                "them is used, so save each as a file of its own"
            )
        return lines

    def _counted(self, names: Sequence[str]) -> str:
        """`4 of 28 images (a.jpg, b.jpg, c.jpg, ...)`."""
        more = ", ..." if len(names) > MAX_NAMES else ""
        shown = ", ".join(sorted(names)[:MAX_NAMES])
        return f"{len(names)} of {self.total} images ({shown}{more})"


def fov_warnings(samples: Mapping[str, Sequence[Sample]], config: DataConfig) -> list[str]:
    """The warnings about each split.

    Args:
        samples: by split.
        config: of the data set.
    """
    lines = []
    for split, of_split in samples.items():
        tally = FovTally()
        for sample in of_split:
            tally.add(
                sample.files.image.name,
                has_border=sample.has_border,
                is_round=sample.is_round,
                num_fields=sample.num_fields,
            )
        lines += tally.lines(config, split, "data.")
    return lines


def _scale(config: DataConfig, group: str) -> str:
    """What is assumed about the scale, and the key that changes it."""
    if config.working_diameter_px is None:
        return (
            f"{group}fov_diameter_px=null keeps their size, but what lies around the retina may "
            "count as retina; give masks of the field of view"
        )
    angle = f"{config.angle_deg:g} degrees"
    given = f"{group}fov_angle_deg={config.angle_deg:g}" if config.fov_angle_deg else angle
    return (
        f"their scale is unknown, and {given} is assumed for their longer side; set "
        f"{group}fov_angle_deg to what it shows"
    )
