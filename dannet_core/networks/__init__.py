"""The networks of DANNet in PyTorch, and their weights on disk."""

from dannet_core.networks.build import build_dannet, build_discriminator
from dannet_core.networks.dannet import DANNet, DannetOutput
from dannet_core.networks.weights import load_weights, save_weights

__all__ = ["DANNet", "DannetOutput", "build_dannet", "build_discriminator", "load_weights", "save_weights"]
