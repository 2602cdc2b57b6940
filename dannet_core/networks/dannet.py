"""DANNet: relight, then segment; one network for day and night (DANNet, figure 2)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from dannet_core.errors import ImageError
from dannet_core.pixels import MIN_SIDE


class DannetOutput(NamedTuple):
    """What `DANNet` returns for N x 3 x H x W images.

    Attributes:
        logits: N x K x H x W, ``stride_logits`` upsampled bilinearly with the network's ``align_corners``.
        relit: N x 3 x H x W, ImageNet-normalised RGB.
        stride_logits: N x K x h x w as the head makes them, h and w about H/8 and W/8 (H/4 and W/4 in RefineNet). They
            span exactly the input image at every H and W, odd ones included: upsampled with the network's
            ``align_corners`` to any size they cover what the image covers.
        aux: N x K x H x W logits of the auxiliary head; None in eval mode, and in networks without one.
    """

    logits: Tensor
    relit: Tensor
    stride_logits: Tensor
    aux: Tensor | None


class DANNet(nn.Module):
    """The generator G of the paper: a relighting and a segmentation network, shared by all domains.

    Args:
        relighting: N x 3 x H x W to the relit image of the same shape.
        segmentation: N x 3 x H x W to logits at its own stride and, while training, auxiliary ones (or None).

    Attributes:
        align_corners: how the logits are to be upsampled: the segmentation network's attribute of that name; True, as
            in the paper, where it has none.
    """

    def __init__(self, relighting: nn.Module, segmentation: nn.Module) -> None:
        super().__init__()
        self.relighting = relighting
        self.segmentation = segmentation
        self.align_corners = bool(getattr(segmentation, "align_corners", True))

    def forward(self, x: Tensor) -> DannetOutput:
        """Relight and segment.

        Args:
            x: N x 3 x H x W float, ImageNet-normalised RGB, H and W of at least 64, any remainder.

        Raises:
            ImageError: ``x`` has another shape, or a side below 64 pixels.
        """
        relit, stride_logits, stride_aux = self.at_stride(x)
        size = (x.shape[-2], x.shape[-1])
        return DannetOutput(
            logits=upsample(stride_logits, size, self.align_corners),
            relit=relit,
            stride_logits=stride_logits,
            aux=None if stride_aux is None else upsample(stride_aux, size, self.align_corners),
        )

    def at_stride(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Like ``forward`` without the upsampling: relit image, stride logits, auxiliary stride logits or None.

        Raises:
            ImageError: as in ``forward``.
        """
        check_images(x)
        # Only the relighting network needs padding and crops it away itself, so that the logits span the image exactly.
        relit = self.relighting(x)
        stride_logits, stride_aux = self.segmentation(relit)
        return relit, stride_logits, stride_aux


def upsample(stride_logits: Tensor, size: tuple[int, int], align_corners: bool = True) -> Tensor:
    """N x K x h x w to N x K x H x W, bilinear; with ``align_corners=True`` as everywhere in the paper's networks."""
    return functional.interpolate(stride_logits, size=size, mode="bilinear", align_corners=align_corners)


def check_images(x: Tensor) -> None:
    """Raise ImageError unless ``x`` is N x 3 x H x W with sides of at least 64 pixels."""
    if x.dim() != 4 or x.shape[1] != 3:
        raise ImageError(f"network input: got shape {tuple(x.shape)}, expected N x 3 x H x W")
    height, width = x.shape[-2:]
    if height < MIN_SIDE or width < MIN_SIDE:
        raise ImageError(f"network input: got {width}x{height} pixels, expected sides of at least {MIN_SIDE}")
