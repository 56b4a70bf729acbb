"""timm's pretrained weights: from the cache or a file; without a network one line says what to do."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import Tensor

from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.trainers.pretrained import load_pretrained
from pneumo_timm.models import build, weights
from pneumo_timm.stages import stages

NAME = "timm/test_vit"
REPOSITORY = "timm/test_vit.r160_in1k"


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hugging Face's cache: empty, and without a network."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


def published(classes: int = 1000) -> dict[str, Tensor]:
    torch.manual_seed(3)
    return dict(timm.create_model("test_vit", num_classes=classes).state_dict())


def fill(hub: Path, state: dict[str, Tensor]) -> None:
    """Put weights where a download puts them."""
    repository = hub / huggingface_hub.constants.REPO_ID_SEPARATOR.join(["models", *REPOSITORY.split("/")])
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    save_file(state, snapshot / "model.safetensors")


def load(weights_setting: str) -> tuple[torch.nn.Module, str]:
    model = build(NAME)
    return model, load_pretrained(
        model, stages(model), discover().models.get(NAME), weights_setting, Progress()
    )


def test_cached_weights_are_loaded_without_the_head_and_leave_the_generator_alone(hub: Path) -> None:
    state = published()
    fill(hub, state)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    assert weights(NAME, Progress()).keys() == state.keys()
    assert torch.equal(torch.get_rng_state(), before)
    model, note = load("imagenet")
    assert note == f"{NAME} begins with its r160_in1k weights ({len(state) - 2} tensors; its head is new)"
    for key, value in model.state_dict().items():
        assert key.startswith("head.") or torch.equal(value, state[key]), key


def test_a_downloaded_file_is_named_as_weights(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(published(classes=1), path)
    assert load(str(path))[1].endswith("its head too)")


def test_without_a_network_one_line_says_which_file_and_what_to_do(hub: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load("imagenet")
    (line,) = str(caught.value).splitlines()
    for words in (
        f"the weights of {NAME} could not be downloaded (",
        f"{constants.ENDPOINT}/{REPOSITORY}/resolve/main/model.safetensors",
        "--weights PATH",
        str(hub),
        "--weights none",
    ):
        assert words in line


def test_a_damaged_download_is_one_line(hub: Path) -> None:
    fill(hub, published())
    (path,) = hub.rglob("model.safetensors")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UsageError, match="the weights of timm/test_vit could not be") as caught:
        weights(NAME, Progress())
    assert "\n" not in str(caught.value)
