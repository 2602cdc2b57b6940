"""How torch is to run a network, and what that means on the device that is here."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final

from dannet_core.errors import SettingsError

PRECISIONS: Final = ("auto", "fp32", "fp16", "bf16")


@dataclass(frozen=True)
class TorchOptions:
    """How torch is to run a network.

    Attributes:
        precision: ``fp32``, ``fp16``, ``bf16``, or ``auto``: fp16 on CUDA where the weights allow it, else fp32. In
            fp32 convolutions on CUDA round to TF32, as torch has it (``torch.backends.cudnn.allow_tf32``).
        channels_last: memory order that tensor cores like; None = on CUDA.
        compile: let torch compile the network; the first frames of a size then take minutes.
        graph: start the network as one CUDA graph per input size.
        on_device: do what comes before and after the network on the device too; None = on CUDA.
        fold: fold batch norms into the convolutions; None = on CUDA.
        kernels: do what comes before and after by the project's own kernels; None = on CUDA. Where they cannot be
            compiled, torch operations do it.

    Raises:
        SettingsError: on construction: an unknown precision.
    """

    precision: str = "auto"
    channels_last: bool | None = None
    compile: bool = False
    graph: bool = True
    on_device: bool | None = None
    fold: bool | None = None
    kernels: bool | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise SettingsError(f"precision: got '{self.precision}', expected one of {', '.join(PRECISIONS)}")


def decide(options: TorchOptions, on_cuda: bool) -> TorchOptions:
    """The options with every "auto" and None decided."""
    precision = options.precision if options.precision != "auto" else "fp16" if on_cuda else "fp32"
    open_ones = ("channels_last", "on_device", "fold", "kernels")
    decided = {name: on_cuda for name in open_ones if getattr(options, name) is None}
    return dataclasses.replace(options, precision=precision, graph=options.graph and on_cuda, **decided)


def set_up_process(torch: Any, device: str, threads: int) -> None:
    """Settings of the whole process: CPU threads inside one operator, and on CUDA the fastest of cuDNN's algorithms."""
    if threads > 0:
        torch.set_num_threads(threads)
    if device.startswith("cuda"):
        # Sizes stay the same from frame to frame: trying them all pays.
        torch.backends.cudnn.benchmark = True
