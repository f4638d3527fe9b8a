"""Pure networks: no Lightning, no losses, no data."""

import utils  # noqa: F401 (before torch)
from networks.convnet import ConvNet
from networks.discriminator import PairedPatchDiscriminator
from networks.unet import UNetEncoder, UNetGenerator

__all__ = ["ConvNet", "PairedPatchDiscriminator", "UNetEncoder", "UNetGenerator"]
