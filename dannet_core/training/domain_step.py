"""One iteration of the paper: day target, night target, source, then the discriminators (DANNet, section 3.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from dannet_core.classes import STATIC_CLASSES
from dannet_core.losses.adversarial import adversarial_loss, discriminator_loss
from dannet_core.losses.light import light_loss, mean_intensity
from dannet_core.losses.segmentation import segmentation_divisor, segmentation_loss
from dannet_core.losses.static import static_divisor, static_loss
from dannet_core.networks import DANNet
from dannet_core.networks.dannet import upsample
from dannet_core.networks.discriminator import Discriminator
from dannet_core.training.config import LossConfig
from dannet_core.training.distributed import Processes
from dannet_core.training.precision import Precision
from dannet_core.training.pseudo_labels import make_pseudo_labels
from dannet_core.training.step_inputs import StepInputs


class GeneratorForward(nn.Module):
    """The generator as training runs it: logits upsampled to the size the losses are computed at.

    Args:
        net: whose weights it uses.
    """

    def __init__(self, net: DANNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Relit images, logits N x K x ``size``, and the auxiliary head's logits or None."""
        relit, stride_logits, stride_aux = self.net.at_stride(images)
        corners = self.net.align_corners
        aux = None if stride_aux is None else upsample(stride_aux, size, corners)
        return relit, upsample(stride_logits, size, corners), aux


@dataclass
class Networks:
    """What is trained.

    Attributes:
        net: G, the generator.
        forward: G as training runs it, compiled or not.
        day: Dd, tells source from day target predictions.
        night: Dn, tells source from night target predictions.
    """

    net: DANNet
    forward: nn.Module
    day: Discriminator
    night: Discriminator


@dataclass
class StepResult:
    """What a step leaves behind for logs and pictures; detached, on the device.

    Attributes:
        losses: scalars by name, unweighted.
        pictures: ``source``, ``day``, ``night``: image and relit image; of the last part.
        labels: ``pseudo``, ``night``, ``source``: N x h x w train ids; of the last part.
        is_shown: pictures of the step are wanted; otherwise labels that nothing else needs are not made.
    """

    losses: dict[str, Tensor] = field(default_factory=dict)
    pictures: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    labels: dict[str, Tensor] = field(default_factory=dict)
    is_shown: bool = True

    def predict(self, name: str, logits: Tensor) -> None:
        """Keep the likeliest classes of N x K x h x w logits, for pictures."""
        if self.is_shown:
            self.labels[name] = logits.detach().argmax(dim=1)


@dataclass
class Part:
    """One part of a batch on its way through a step; without gradient accumulation the whole batch.

    Attributes:
        inputs: its crops.
        result: gets its losses.
        share: of the step's gradients and losses that it contributes, 1 / number of parts.
    """

    inputs: StepInputs
    result: StepResult
    share: float

    def add(self, name: str, value: Tensor) -> None:
        """Add this part's share of a loss to the step's."""
        losses = self.result.losses
        losses[name] = losses.get(name, value.new_zeros(())) + value.detach() * self.share

    def backward(self, loss: Tensor, precision: Precision) -> None:
        """Add the gradients of this part's share of a weighted loss, where there are any."""
        if loss.requires_grad:
            precision.scale(loss * self.share).backward()  # type: ignore[no-untyped-call]  # torch's own


class Ingredient(Protocol):
    """A pass that the paper does not have."""

    def adapt(self, part: Part) -> None:
        """Compute its losses and add their gradients to those that are there."""


class Companion(Protocol):
    """Pictures that share the source's pass, and with it the batch-norm statistics."""

    def pictures(self, part: Part) -> Tensor:
        """N x 3 x h x w, of the source pictures' size."""

    def loss(self, part: Part, logits: Tensor) -> Tensor:
        """The weighted loss of the logits of the pictures that were given last."""


class SourceTerm(Protocol):
    """One more loss on what the source pass gives."""

    def loss(self, part: Part, logits: Tensor) -> Tensor:
        """The weighted loss of the source pictures' logits."""


class _Prediction(NamedTuple):
    """Of pictures of a domain, N x K x h x w each; a softmax over channels_last logits is worth doing once."""

    logits: Tensor
    likelihoods: Tensor

    def detached(self) -> _Prediction:
        return _Prediction(self.logits.detach(), self.likelihoods.detach())


class DomainStep:
    """Computes all losses of a step and their gradients; the optimisers are the caller's.

    Args:
        networks: in training mode.
        config: weights and variants of the losses.
        class_weights: (K,) w_k of equation 2, on the device.
        precision: of the networks.
        processes: over which batch-wide means are taken.
        static_classes: train ids that the day images' labels are taken over for.

    Attributes:
        ingredients: passes that follow the paper's, in order; none at first.
        source_view: gives the source pictures as the source pass sees them; at first as they are.
        companion: gives pictures that go through the network with the source's, in one batch; None at first.
        source_terms: losses on the source pass beside the paper's; none at first.
        source_watch: is around the source pass; nothing at first.
    """

    def __init__(
        self,
        networks: Networks,
        config: LossConfig,
        class_weights: Tensor,
        precision: Precision,
        processes: Processes,
        *,
        static_classes: Sequence[int] = STATIC_CLASSES,
    ) -> None:
        self.ingredients: list[Ingredient] = []
        self.source_view: Callable[[Part], Tensor] = _as_they_are
        self.companion: Companion | None = None
        self.source_terms: list[SourceTerm] = []
        self.source_watch: Callable[[], AbstractContextManager[None]] = nullcontext
        self._static_classes = tuple(static_classes)
        self._networks = networks
        self._config = config
        self._weights = class_weights
        self._precision = precision
        self._processes = processes

    def adapt(self, part: Part) -> None:
        """The paper's iteration, then the ingredients; gradients are added to those that are there."""
        if self._config.target_losses:
            self._adapt_as_published(part)
        else:
            self._source(part, None)
        for ingredient in self.ingredients:
            ingredient.adapt(part)

    def _adapt_as_published(self, part: Part) -> None:
        """Running batch-norm statistics see the domains in this order, so the three passes stay apart."""
        with _frozen(self._networks.day, self._networks.night):
            intensity = self._night_intensity(part)
            day = self._day_target(part, intensity) if self._config.day_domain else None
            night = self._night_target(part, intensity, day)
            source = self._source(part, intensity)
        likelihoods = _likelihoods(source)
        if day is not None:
            self._discriminator(part, "day", likelihoods, day.likelihoods)
        self._discriminator(part, "night", likelihoods, night.likelihoods)

    def day_and_night(self, inputs: StepInputs) -> Tensor:
        """Source pictures as the source pass sees them, and night pictures: what the trained network is to know."""
        source, night = self.source_view(Part(inputs, StepResult(), 1.0)), inputs.target_images("night")
        height, width = (min(sides) for sides in zip(source.shape[-2:], night.shape[-2:], strict=True))
        return torch.cat([source[..., :height, :width], night[..., :height, :width]])

    def pretrain(self, part: Part) -> None:
        """The source-only iteration: the segmentation loss alone."""
        self._source(part, None)

    def _night_intensity(self, part: Part) -> Tensor:
        return self._processes.mean(mean_intensity(part.inputs.target_images("night")))

    def _day_target(self, part: Part, intensity: Tensor) -> _Prediction:
        loss, predicted = self._target(part, "day", intensity)
        self._backward(part, loss)
        return predicted.detached()

    def _night_target(self, part: Part, intensity: Tensor, day: _Prediction | None) -> _Prediction:
        loss, predicted = self._target(part, "night", intensity)
        if day is not None and self._config.static > 0 and self._static_classes:
            loss = loss + self._config.static * self._static(part, day.logits, predicted.logits)
        self._backward(part, loss)
        part.result.predict("night", predicted.logits)
        return predicted.detached()

    def _target(self, part: Part, domain: str, intensity: Tensor) -> tuple[Tensor, _Prediction]:
        """What both target domains pay, the adversarial and the light loss; and the prediction."""
        images = part.inputs.target_images(domain)
        discriminator = self._networks.day if domain == "day" else self._networks.night
        with self._precision.autocast():
            relit, logits, _ = self._networks.forward(images, part.inputs.target_size)
            likelihoods = _likelihoods(logits)
            scores = discriminator(likelihoods)
        adversarial = adversarial_loss(scores)
        part.add(f"adversarial_{domain}", adversarial)
        part.result.pictures[domain] = (images, relit.detach())
        light = self._light(part, domain, images, relit, intensity)
        loss = self._config.adversarial * adversarial + self._config.light * light
        return loss, _Prediction(logits, likelihoods)

    def _source(self, part: Part, intensity: Tensor | None) -> Tensor:
        images, labels = self.source_view(part), part.inputs.labels
        with self.source_watch():
            relit, logits, aux, extra = self._forward_source(part, images, (labels.shape[-2], labels.shape[-1]))
        part.result.pictures["source"] = (images, relit.detach())
        segmentation = self._segmentation(logits, labels)
        part.add("segmentation", segmentation)
        loss = self._config.segmentation * segmentation
        if aux is not None and self._config.auxiliary > 0:
            auxiliary = self._segmentation(aux, labels)
            part.add("auxiliary", auxiliary)
            loss = loss + self._config.auxiliary * auxiliary
        if intensity is not None:
            loss = loss + self._config.light_source * self._light(part, "source", images, relit, intensity)
        if extra is not None:
            loss = loss + extra
        for term in self.source_terms:
            loss = loss + term.loss(part, logits)
        self._backward(part, loss)
        part.result.predict("source", logits)
        detached: Tensor = logits.detach()
        return detached

    def _forward_source(
        self, part: Part, images: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Relit pictures, logits and auxiliary logits of the source, and the companion's loss where there is one."""
        if self.companion is None:
            with self._precision.autocast():
                return *self._networks.forward(images, size), None
        together, count = torch.cat([images, self.companion.pictures(part)]), len(images)
        with self._precision.autocast():
            relit, logits, aux = self._networks.forward(together, size)
        extra = self.companion.loss(part, logits[count:])
        # A network without relighting gives its input back, and the light loss tells by that.
        shown = images if relit is together else relit[:count]
        return shown, logits[:count], None if aux is None else aux[:count], extra

    def _discriminator(self, part: Part, domain: str, source: Tensor, target: Tensor) -> None:
        network = self._networks.day if domain == "day" else self._networks.night
        with self._precision.autocast():
            on_source, on_target = network(source), network(target)
        loss = discriminator_loss(on_source, on_target)
        part.add(f"discriminator_{domain}", loss)
        self._backward(part, loss)

    def _light(self, part: Part, domain: str, images: Tensor, relit: Tensor, intensity: Tensor) -> Tensor:
        if relit is images:  # an ablation without a relighting network: nothing to hold to anything
            return images.new_zeros(())
        terms = light_loss(images, relit, intensity, self._config.tv, self._config.exposure)
        part.add(f"light_{domain}", terms.total)
        return terms.total

    def _static(self, part: Part, day: Tensor, night: Tensor) -> Tensor:
        weights = self._weights if self._config.reweight_pseudo_labels else None
        static = self._static_classes
        pseudo_labels = make_pseudo_labels(day, night.detach(), weights, self._config.pseudo_labels, static)
        part.result.labels["pseudo"] = pseudo_labels
        divisor = self._processes.mean(static_divisor(pseudo_labels, static).float())
        options = (self._config.static_form, self._config.gamma, self._weights, divisor)
        loss = static_loss(night, pseudo_labels, *options, static_classes=static)
        part.add("static", loss)
        return loss

    def _segmentation(self, logits: Tensor, labels: Tensor) -> Tensor:
        divisor = segmentation_divisor(labels, logits.shape[1], self._weights, self._config.divide_by)
        return segmentation_loss(logits, labels, self._weights, divisor=self._processes.mean(divisor.float()))

    def _backward(self, part: Part, loss: Tensor) -> None:
        part.backward(loss, self._precision)


def _as_they_are(part: Part) -> Tensor:
    return part.inputs.source


def _likelihoods(logits: Tensor) -> Tensor:
    return logits.float().softmax(dim=1)


@contextmanager
def _frozen(*modules: nn.Module) -> Iterator[None]:
    """Gradients flow through the modules but not into their weights."""
    for module in modules:
        module.requires_grad_(False)
    try:
        yield
    finally:
        for module in modules:
            module.requires_grad_(True)
