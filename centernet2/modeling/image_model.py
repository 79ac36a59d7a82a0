"""What every meta-architecture here does with pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

__all__ = ["ImageModel"]


class ImageModel(nn.Module):
    """A model that subtracts a mean of the input channels and divides by a deviation.

    Args:
        pixel_mean, pixel_std: of each channel, whose values are 0 to 255.
        in_checkpoints: whether the state dict holds both. As in Detectron2's own models it usually
            does not: they are constants of the config.
    """

    pixel_mean: torch.Tensor
    pixel_std: torch.Tensor

    def __init__(
        self, pixel_mean: Sequence[float], pixel_std: Sequence[float], in_checkpoints: bool = False
    ) -> None:
        super().__init__()
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            buffer = torch.tensor(values).view(-1, 1, 1)
            self.register_buffer(name, buffer, persistent=in_checkpoints)

    @property
    def device(self) -> torch.device:
        """Where the model's tensors live."""
        return self.pixel_mean.device

    def normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """``(..., C, H, W)`` as the network takes it; models that pad with black call it after."""
        return (pixels - self.pixel_mean) / self.pixel_std
