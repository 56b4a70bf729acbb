"""Grad-CAM: the regions of an image with evidence for a classifier's prediction (Selvaraju et al. 2017, ICCV).

The last feature maps of a convolutional network are weighted by the gradient of the logit. The result is as coarse
as these maps, 7 x 7 for most networks at 224 px: it distinguishes a lung from a corner, but not two adjacent ribs.
:mod:`pneumo_cli.evaluation.saliency_checks` checks whether it reflects the model, and
:mod:`pneumo_cli.reports.figures.saliency` draws it.

Not for transformers, whose tokens mix all positions long before the head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pneumo_cli.errors import UsageError

SMALLEST = 4
"""Rows and columns of a map, if any layer has as many: 2 x 2 localises nothing."""

_BATCH = 16  # bounds the memory: with trainable weights every layer keeps its input
_LONGEST = (
    1.5  # a map's aspect ratio relative to the image's, at most: [B, h, w, C] is not a map with h channels
)


class GradCam:
    """Grad-CAM of one classifier. Changes neither the model nor the global random generator, and leaves no hooks.

    The layer is chosen once: the last one in the forward pass with an output [B, C, h, w], h and w at least
    :data:`SMALLEST`, after the first convolution, on which the logit depends entirely. (A branch parallel to a
    shortcut holds only some of the evidence.) Without such a layer, the last one with more than one position.

    Args:
        model: in eval mode; its parameters may be frozen.
        to_logits: maps the model's output to the logit of class 1, [B], or to a score of each of K classes, [B, K].
        example: an image as the model takes it, [1, C, H, W].

    Attributes:
        model, to_logits: as given.
        layer: name of the chosen layer.
        size: height and width of its maps.

    Raises:
        UsageError: the model has no convolutional maps.
        ValueError: the model is in training mode, or the example is not an image.
    """

    def __init__(self, model: nn.Module, to_logits: Callable[[Tensor], Tensor], example: Tensor) -> None:
        self.model = model
        self.to_logits = to_logits
        _check(model, example)
        with torch.inference_mode(False), torch.enable_grad():
            self._place = _choose(model, to_logits, example[:1])
        self.layer = self._place.name
        self.size = self._place.size

    def logits(self, images: Tensor) -> Tensor:
        """The model's logits, float32 [B] or [B, K], for images [B, C, H, W], without gradients."""
        with torch.no_grad():
            return torch.cat([self.to_logits(self.model(part)).float() for part in images.split(_BATCH)])

    def evidence(self, images: Tensor, towards: int | Tensor = 1) -> Tensor:
        """Signed evidence at every position of the chosen layer's maps, in logits up to a common factor.

        May be called under ``no_grad`` and under autocast; the maps are summed in float32.

        Args:
            images: [B, C, H, W], as the model takes them.
            towards: the class that positive values support, 0 or 1, or 0 to K - 1: one for all images, or [B].

        Returns:
            float32 [B, h, w] on the images' device; 0 where the model gives no finite number.

        Raises:
            ValueError: the model is in training mode, or the images have another shape.
        """
        _check(self.model, images)
        wanted = torch.as_tensor(towards, device=images.device).expand(len(images))
        with torch.inference_mode(False):
            parts = [
                self._evidence(*part) for part in zip(images.split(_BATCH), wanted.split(_BATCH), strict=True)
            ]
        return torch.cat(parts) if parts else images.new_zeros((0, *self.size), dtype=torch.float32)

    def maps(self, images: Tensor, towards: int | Tensor = 1) -> Tensor:
        """The evidence for a class at the size of the images; arguments and errors as for :meth:`evidence`.

        Returns:
            float32 [B, H, W]: 0 without evidence, 1 at the maximum of each image; 0 everywhere in an image without
            evidence for that class.
        """
        return enlarged(self.evidence(images, towards), images.shape[-2:])

    def _evidence(self, images: Tensor, towards: Tensor) -> Tensor:
        leaves: list[Tensor] = []

        def as_leaf(output: Tensor) -> Tensor:
            # Overrides a no_grad in the model's own code (frozen parts).
            torch.set_grad_enabled(True)
            leaves.append(output.detach().float().requires_grad_())
            # A copy, because later layers may change it in place, which is forbidden for a leaf.
            return leaves[-1].to(output.dtype, copy=True)

        with torch.enable_grad():
            with _replaced(self._place, as_leaf):
                logits = self.to_logits(self.model(images.clone() if images.is_inference() else images))
            if logits.ndim > 2 or len(logits) != len(images) or (logits.ndim == 2 and logits.shape[1] < 2):
                raise ValueError(f"the logits of {len(images)} images have the shape {list(logits.shape)}")
            of_class = logits if logits.ndim == 1 else logits.gather(1, towards[:, None].long())
            (gradient,) = torch.autograd.grad(of_class.float().sum(), leaves)
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            weights = gradient.mean((2, 3), keepdim=True)
            evidence = (weights * leaves[0].detach()).sum(1).nan_to_num(0.0, 0.0, 0.0)
            if logits.ndim == 1:  # the evidence for class 0 is that against class 1
                evidence = evidence * (towards.float() * 2 - 1)[:, None, None]
            return evidence


def enlarged(evidence: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """Coarse evidence [B, h, w] as maps [B, H, W]: negative values are clipped to 0, the maximum is scaled to 1."""
    smooth = F.interpolate(evidence.clamp(min=0)[:, None], size=tuple(size), mode="bilinear")[:, 0]
    highest = smooth.amax((1, 2), keepdim=True)
    return torch.where(highest > 0, smooth / highest.clamp(min=torch.finfo(torch.float32).tiny), 0.0)


@dataclass(frozen=True)
class _Place:
    """One output of a layer; a layer that is used several times (an activation) has several."""

    module: nn.Module
    name: str
    call: int
    size: tuple[int, int]


def _check(model: nn.Module, images: Tensor) -> None:
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(f"Grad-CAM takes images [B, C, H, W], not {images.dtype} {list(images.shape)}")
    if any(module.training for module in model.modules()):
        raise ValueError("Grad-CAM explains a model in eval mode; this one is in training mode")


def _choose(model: nn.Module, to_logits: Callable[[Tensor], Tensor], example: Tensor) -> _Place:
    places, tokens = _traced(model, example)
    large = [place for place in places if min(place.size) >= SMALLEST]
    rest = [place for place in places if min(place.size) < SMALLEST]
    for place in [*reversed(large), *reversed(rest)]:
        if _is_passed_by_all(place, model, to_logits, example):
            if tokens > places.index(place):
                break  # the first layer of a vision transformer is a convolution
            return place
    raise UsageError(f"the model {type(model).__name__} has no convolutional maps, which Grad-CAM needs")


def _traced(model: nn.Module, example: Tensor) -> tuple[list[_Place], int]:
    """All maps in the order of the forward pass, and how many precede the last tokens [B, N, C]."""
    places: list[_Place] = []
    calls: dict[nn.Module, int] = {}
    tokens = 0
    convolved = False
    tall = example.shape[-2] / example.shape[-1]

    def recorder(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            nonlocal tokens, convolved
            call = calls[module] = calls.get(module, -1) + 1
            convolved = convolved or isinstance(module, nn.Conv2d)
            if not isinstance(output, Tensor) or not output.is_floating_point():
                return
            if output.ndim == 3 and output.shape[1] > 1:
                tokens = len(places)
            if output.ndim == 4 and convolved:
                height, width = output.shape[-2:]
                if height * width > 1 and 1 / _LONGEST <= height / width / tall <= _LONGEST:
                    places.append(_Place(module, name, call, (height, width)))

        return hook

    handles = [module.register_forward_hook(recorder(name)) for name, module in model.named_modules() if name]
    try:
        with torch.no_grad():
            model(example)
    finally:
        for handle in handles:
            handle.remove()
    return places, tokens


def _is_passed_by_all(
    place: _Place, model: nn.Module, to_logits: Callable[[Tensor], Tensor], example: Tensor
) -> bool:
    """Whether the logit depends on the image only through this output: without it no gradient reaches the image."""
    image = example.detach().clone().requires_grad_()
    with _replaced(place, lambda output: output.detach().clone()):
        logits = to_logits(model(image.clone()))
    if not logits.requires_grad:
        return True
    return torch.autograd.grad(logits.sum(), image, allow_unused=True)[0] is None


@contextmanager
def _replaced(place: _Place, replace: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace the output of a layer during the block."""
    calls = -1

    def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
        nonlocal calls
        calls += 1
        return replace(output) if calls == place.call else None

    handle = place.module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
