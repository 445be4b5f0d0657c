"""Compare some masks with their images before training, so that misfits are not learned silently.

fundus-check compares all of them, finds the image that a mask belongs to, and shows every pair.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from fundus_cli.check.alignment import Darkness, Verdict, align
from fundus_cli.data.samples import Sample
from fundus_cli.errors import list_names

IMAGES_PER_SPLIT = 12
"""A reduced copy is compared, in about 20 ms per image of any size, and 2 s at most in all."""

MISFITS = {
    Verdict.shifted: "fit only when moved",
    Verdict.rotated: "fit only when rotated or mirrored (annotated without the EXIF rotation?)",
    Verdict.inverted: "mark what is bright and leave out what is dark; inverted?",
    Verdict.unrelated: "do not resemble their image; of another image?",
}


def misfit_warnings(
    samples: Mapping[str, Sequence[Sample]], structures: Sequence[str], command: str
) -> list[str]:
    """A warning for each kind of misfit, with the images concerned.

    Only structures most of whose masks fit are judged: vessels are darker than the retina beside
    them, and a disc, for example, never resembles dark lines.

    Args:
        samples: of each split.
        structures: names, in the order of the channels.
        command: what shows all of them.
    """
    judged: dict[str, Counter[Verdict]] = defaultdict(Counter)
    misfits: dict[tuple[str, Verdict], list[str]] = defaultdict(list)
    for of_split in samples.values():
        for sample in of_split[:: max(1, -(-len(of_split) // IMAGES_PER_SPLIT))]:
            for structure, verdict in _verdicts(sample, structures).items():
                judged[structure][verdict] += 1
                if verdict in MISFITS:
                    misfits[structure, verdict].append(sample.id)
    warnings = []
    for (structure, verdict), ids in misfits.items():
        looked_at = judged[structure].total()
        fitting = judged[structure][Verdict.aligned]
        if verdict is Verdict.unrelated and 2 * fitting <= looked_at:
            continue
        warnings.append(
            f"warning: {structure}: {len(ids)} of {looked_at} masks looked at {MISFITS[verdict]} "
            f"{list_names(ids)}; {command} shows all"
        )
    return warnings


def _verdicts(sample: Sample, structures: Sequence[str]) -> dict[str, Verdict]:
    image = np.ascontiguousarray(sample.image.transpose(1, 2, 0))
    seen = Darkness(image, sample.fov_mask)
    return {
        structure: align(image, sample.target[channel] >= 128, sample.fov_mask, seen).verdict
        for channel, structure in enumerate(structures)
    }
