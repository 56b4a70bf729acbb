"""timm's classifiers for a number of outputs, and their pretrained weights.

Modules and names of weights are timm's own, so that its state dicts fit.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from typing import Any

import timm
import torch
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from timm.models import PretrainedCfg
from torch import Tensor, nn

from pneumo_cli.errors import UsageError
from pneumo_cli.runtime.progress import Progress
from pneumo_timm.catalog import PREFIX, pretrained_cfg

_TIMEOUT = 20.0  # seconds without a response
_ANY_SIZE: tuple[dict[str, Any], ...] = (
    {"dynamic_img_size": True, "dynamic_img_pad": True},
    {"dynamic_img_size": True},
    {"strict_img_size": False},
    {},
)
"""Arguments with which a model takes images of other sizes without another shape of its weights, the best first."""


def build(name: str, channels: int = 3, outputs: int = 1) -> nn.Module:
    """Build a model with random weights, which takes images of any size if timm can build it so.

    It maps float images [B, 3, H, W] to logits [B, outputs]. Transformers interpolate the embeddings of positions
    that they have for their own size, and pad images to whole patches.

    Raises:
        UsageError: the number of channels is not three.
    """
    if channels != 3:
        raise UsageError(f"the model {name} takes images of 3 channels, not {channels}")
    model = _created(name.removeprefix(PREFIX), num_classes=outputs)
    head = getattr(model, "get_classifier", lambda: None)()
    if isinstance(head, nn.Conv2d):  # it becomes the end of the forward pass, as a linear one is
        head.register_forward_pre_hook(_as_maps)
        head.register_forward_hook(_as_rows)
    return model


def _created(name: str, **arguments: Any) -> nn.Module:
    for options in _ANY_SIZE:
        try:
            model: nn.Module = timm.create_model(name, **arguments, **options)
        except TypeError:  # it does not take these
            if not options:
                raise
        else:
            return model
    raise AssertionError


def _as_maps(module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    return inputs[0] if inputs[0].ndim == 4 else inputs[0][:, :, None, None]


def _as_rows(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.flatten(1)


def weights(name: str, progress: Progress) -> Mapping[str, Tensor]:
    """timm's pretrained weights of a model, by its hub: downloaded once, into the cache of Hugging Face or torch.

    Raises:
        UsageError: they cannot be downloaded.
    """
    shown = not are_progress_bars_disabled()
    if sys.stderr is None or not sys.stderr.isatty():
        disable_progress_bars()
    try:
        _check_hub(name)
        with torch.random.fork_rng(devices=[]):  # the random weights that they replace
            model: nn.Module = timm.create_model(name.removeprefix(PREFIX), pretrained=True)
    except Exception as error:  # of several libraries, and of their networks
        raise UsageError(
            f"the weights of {name} could not be downloaded ({_reason(error)}): get {_source(name)} elsewhere and "
            f"name it with --weights PATH, or fill the cache {constants.HF_HUB_CACHE} (HF_HOME), or use "
            "--weights none"
        ) from error
    finally:
        if shown:
            enable_progress_bars()
    return model.state_dict()


def _check_hub(name: str) -> None:
    """Ask Hugging Face's hub once for weights that are not in its cache: timm would for a minute, line by line."""
    cfg = pretrained_cfg(name)
    if cfg.hf_hub_id and not isinstance(try_to_load_from_cache(cfg.hf_hub_id, _file(cfg)), str):
        with contextlib.suppress(EntryNotFoundError):  # timm looks for it under other names too
            get_hf_file_metadata(_source(name), timeout=_TIMEOUT)


def _source(name: str) -> str:
    """The address of a model's weights."""
    cfg = pretrained_cfg(name)
    return hf_hub_url(cfg.hf_hub_id, _file(cfg)) if cfg.hf_hub_id else str(cfg.url)


def _file(cfg: PretrainedCfg) -> str:
    return cfg.hf_hub_filename or constants.SAFETENSORS_SINGLE_FILE


def _reason(error: BaseException) -> str:
    """What is behind an error, in one line: huggingface_hub wraps those of the network."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:200] or type(error).__name__
