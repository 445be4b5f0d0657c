"""Warn when predictions collapse to all background or all foreground, and suggest causes."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fundus_cli.config import LossName, TrainConfig
from fundus_cli.training.losses import Loss

NUM_BINS = 1000
"""Number of probability bins in which pixels are counted."""
ALMOST_NONE = 1e-4
"""A share of pixels below this counts as none, one this close to 1 as all."""
RARE_SHARE = 0.02
HIGH_LR = 1e-2
EPOCHS_BEFORE_A_WORD = 3
EPOCHS_BETWEEN_WORDS = 10


class ConstantPredictionWatch:
    """Counts predicted and annotated pixels of an epoch; the results of a run do not depend on it.

    Attributes:
        structures: names of the S channels.
        train_share: (S,) share of the field of view that each structure covers in train.
    """

    def __init__(self, config: TrainConfig, train_share: Sequence[float]) -> None:
        self.config = config
        self.structures = config.data.structures
        self.train_share = train_share
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Reset the counts."""
        self.counts = torch.zeros(len(self.structures), NUM_BINS)
        self.annotated = torch.zeros(len(self.structures), dtype=torch.float64)

    def watched(self, loss: Loss) -> Loss:
        """The same loss; the returned function also counts every prediction that it gets."""

        def look_and_return(logits: Tensor, target: Tensor, fov_mask: Tensor) -> Tensor:
            self.look(logits, target, fov_mask)
            return loss(logits, target, fov_mask)

        return look_and_return

    @torch.no_grad()
    def look(self, logits: Tensor, target: Tensor, fov_mask: Tensor) -> None:
        """Count the pixels inside the field of view.

        Args:
            logits: (N, S, H, W).
            target: (N, S, H, W), 0 to 1.
            fov_mask: (N, 1, H, W) bool.
        """
        inside = fov_mask[:, 0]
        for channel in range(len(self.structures)):
            probability = torch.sigmoid(logits[:, channel].float())[inside]
            self.counts[channel] += torch.histc(probability, NUM_BINS, 0.0, 1.0).cpu()
            self.annotated[channel] += target[:, channel][inside].sum(dtype=torch.float64).cpu()

    def end_epoch(self, threshold: float, epochs_before: int, lr: float) -> tuple[int, list[str]]:
        """Evaluate the counts of the epoch.

        Args:
            threshold: probability from which a pixel counts.
            epochs_before: number of the epochs before this one with constant predictions in a row.
            lr: the last step's learning rate.

        Returns:
            The number of epochs in a row with constant predictions now, and a warning for each
            structure when one is due.
        """
        colours = [self._colour(channel, threshold) for channel in range(len(self.structures))]
        if not any(colours):
            return 0, []
        epochs = epochs_before + 1
        since = epochs - EPOCHS_BEFORE_A_WORD
        if since < 0 or since % EPOCHS_BETWEEN_WORDS:
            return epochs, []
        return epochs, [
            self._text(channel, colour, epochs, threshold, lr)
            for channel, colour in enumerate(colours)
            if colour
        ]

    def _colour(self, channel: int, threshold: float) -> str:
        """`black` or `white` for constant predictions; empty otherwise, or if the masks are
        constant."""
        total = float(self.counts[channel].sum())
        if total == 0:
            return ""
        annotated = float(self.annotated[channel]) / total
        if not ALMOST_NONE < annotated < 1 - ALMOST_NONE:
            return ""
        first = math.floor(threshold * NUM_BINS)
        predicted = float(self.counts[channel, first:].sum()) / total
        return (
            "black" if predicted < ALMOST_NONE else "white" if predicted > 1 - ALMOST_NONE else ""
        )

    def _text(self, channel: int, colour: str, epochs: int, threshold: float, lr: float) -> str:
        occupied = torch.nonzero(self.counts[channel]).flatten()
        low, high = float(occupied[0]) / NUM_BINS, float(occupied[-1] + 1) / NUM_BINS
        total = float(self.counts[channel].sum())
        return (
            f"warning: {self.structures[channel]}: predictions have been all {colour} for {epochs} "
            f"epochs (probabilities {low:.3f} to {high:.3f}, threshold {threshold:.3f}; the masks "
            f"cover {float(self.annotated[channel]) / total:.1%}); {self._advice(channel, lr)}"
        )

    def _advice(self, channel: int, lr: float) -> str:
        share = self.train_share[channel]
        if not ALMOST_NONE < share < 1 - ALMOST_NONE:
            return (
                f"the masks of train cover {share:.2%}: check how they are read "
                "(data.mask_foreground, data.mask_channel, data.train.targets)"
            )
        advice = []
        if lr >= HIGH_LR:
            advice.append(f"optimizer.lr={lr / 10:.1g} (a tenth; the present one is high)")
        if share < RARE_SHARE:
            advice.append("patches that show more of it (data.patch_px)")
        if self.config.loss.name is LossName.bce:
            advice.append("loss=bce_dice (weighs a rare structure like the rest)")
        if self.config.threshold != "auto":
            advice.append("threshold=auto")
        if lr < HIGH_LR:
            advice.append("more epochs, or a higher optimizer.lr if the loss hardly falls")
        return "try " + "; ".join(advice)
