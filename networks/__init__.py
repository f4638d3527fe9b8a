"""Pure networks: no Lightning, no losses, no data."""

from networks.convnet import ConvNet
from networks.discriminator import PairedPatchDiscriminator
from networks.unet import UNetEncoder, UNetGenerator

__all__ = ["ConvNet", "PairedPatchDiscriminator", "UNetEncoder", "UNetGenerator"]
