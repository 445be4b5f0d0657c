"""Several checkpoints as one: what they must agree on, and the threshold they share."""

from collections.abc import Callable, Iterable, Sequence

from fundus_cli.errors import DataError
from fundus_cli.run.checkpoint import Checkpoint, Threshold

MEAN_OF_MEMBERS = "mean of members"
"""Origin of a threshold that several checkpoints share; a key of protocol.ORIGIN."""

AGREEMENTS: dict[str, Callable[[Checkpoint], object]] = {
    "structures": lambda saved: ", ".join(saved.config.data.structures),
    "data.normalisation": lambda saved: saved.config.data.normalisation.value,
    "data.fov_diameter_px": lambda saved: saved.config.data.fov_diameter_px,
}
"""What decides how a photograph is prepared and what comes out, so that members can be averaged."""


def check_agreement(members: Sequence[Checkpoint], on: Iterable[str] = tuple(AGREEMENTS)) -> None:
    """Refuse checkpoints that cannot be averaged.

    Args:
        members: the checkpoints.
        on: keys of AGREEMENTS; where each member is given photographs of its own preparation,
            structures alone are enough.

    Raises:
        DataError: with every value on which a member differs from the first.
    """
    first, *others = members
    differences = [
        f"{name}={value(first)} in {first.path}, but {value(other)} in {other.path}"
        for other in others
        for name, value in ((name, AGREEMENTS[name]) for name in on)
        if value(other) != value(first)
    ]
    if differences:
        raise DataError(
            "checkpoint: an ensemble's members must be made for the same photographs and "
            f"structures; {'; '.join(differences)}; use the others on their own"
        )


def shared_threshold(members: Sequence[Checkpoint]) -> Threshold:
    """One member's own threshold, or the mean of several."""
    if len(members) == 1:
        return members[0].threshold
    values = [saved.threshold.value for saved in members]
    return Threshold(sum(values) / len(values), MEAN_OF_MEMBERS)


def shared_tta(members: Sequence[Checkpoint], wanted: bool | None) -> bool:
    """Whether mirrored photographs are averaged; None: as in training.

    Raises:
        DataError: the members were trained with different answers.
    """
    if wanted is not None:
        return wanted
    values = {saved.config.tta for saved in members}
    if len(values) > 1:
        raise DataError("tta: true in one checkpoint, false in another; add tta=true or tta=false")
    return values.pop()
