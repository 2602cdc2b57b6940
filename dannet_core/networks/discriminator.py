"""The output-space discriminator (DANNet, section 3.5): which domain does a prediction come from?"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

LEAKY_SLOPE = 0.2


class Discriminator(nn.Module):
    """Five 4x4 convolutions with padding 1 and LeakyReLU in between; one score a patch.

    Args:
        num_classes: K, channels of the softmax of the logits it judges.
        width: channels of the first convolution; 64 in the paper (64, 128, 256, 256, 1).
    """

    def __init__(self, num_classes: int, width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_classes, width, 4, stride=2, padding=1)
        self.conv2 = nn.Conv2d(width, width * 2, 4, stride=2, padding=1)
        self.conv3 = nn.Conv2d(width * 2, width * 4, 4, padding=1)
        self.conv4 = nn.Conv2d(width * 4, width * 4, 4, padding=1)
        self.classifier = nn.Conv2d(width * 4, 1, 4, padding=1)

    def forward(self, probabilities: Tensor) -> Tensor:
        """N x K x H x W, softmax over K, to scores N x 1 x ~H/4 x ~W/4, unbounded (0 = source, 1 = target)."""
        x = probabilities
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = functional.leaky_relu(conv(x), LEAKY_SLOPE)
        scores: Tensor = self.classifier(x)
        return scores
