"""Pure networks: no Lightning, no losses, no data."""

from cycle_am.networks.convnet import ConvNet
from cycle_am.networks.discriminator import PairedPatchDiscriminator
from cycle_am.networks.unet import UNetEncoder, UNetGenerator

__all__ = ["ConvNet", "PairedPatchDiscriminator", "UNetEncoder", "UNetGenerator"]
