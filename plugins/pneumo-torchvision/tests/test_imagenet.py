"""ImageNet weights: downloaded once, checked by their hash, loaded without the head; errors say what to do."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest
import torch
import torchvision
from torch import Tensor

from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.trainers.pretrained import load_pretrained
from pneumo_torchvision import models
from pneumo_torchvision.models import build, imagenet, stages

STATE = {"conv1.weight": torch.ones(4), "fc.weight": torch.ones(3)}
"""Weights of which only the file matters."""


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's folder of downloads: empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def published(
    downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[dict[str, Tensor]], tuple[Path, bytes]]:
    """Replace torchvision's weights of ResNet-18: ``published(state)`` returns their path and their bytes."""

    def publish(state: dict[str, Tensor]) -> tuple[Path, bytes]:
        file = downloads.parents[1] / "state.pth"
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, file)
        content = file.read_bytes()
        name = f"resnet18-{hashlib.sha256(content).hexdigest()[:8]}.pth"

        class Weights:
            url = f"https://weights.invalid/models/{name}"

        monkeypatch.setattr(
            torchvision.models, "get_model_weights", lambda builder: {"IMAGENET1K_V1": Weights}
        )
        return downloads / name, content

    return publish


def refused(name: str) -> str:
    with pytest.raises(UsageError) as caught:
        imagenet(name, Progress())
    (line,) = str(caught.value).splitlines()
    return line


def test_downloaded_weights_are_loaded_without_the_head(
    published: Callable[..., tuple[Path, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)  # not needed
    torch.manual_seed(3)
    state: dict[str, Tensor] = torchvision.models.resnet18().state_dict()  # of a thousand classes
    path, content = published(state)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    model = build("resnet18")
    fresh = model.fc[1].weight.clone()
    (entry,) = [one for one in discover().models.entries() if one.spec.name == "resnet18"]
    note = load_pretrained(model, stages(model), entry, "imagenet", Progress())
    assert note == "resnet18 begins with its ImageNet weights (120 tensors; its head is new)"
    loaded = model.state_dict()
    for key, value in state.items():
        assert key.startswith("fc.") or torch.equal(loaded[key], value), key
    assert torch.equal(model.fc[1].weight, fresh)


def test_missing_weights_are_downloaded_once_and_checked(
    published: Callable[..., tuple[Path, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, content = published(STATE)
    calls = []

    def download(url: str, target: str, hash_prefix: str, progress: bool) -> None:
        calls.append((url.rpartition("/")[2], Path(target), hash_prefix))
        Path(target).write_bytes(content)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    for _ in range(2):
        assert imagenet("resnet18", Progress()).keys() == STATE.keys()
    assert calls == [(path.name, path, path.stem.rpartition("-")[2])]


def test_incomplete_downloads_and_other_files_are_refused(
    published: Callable[..., tuple[Path, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    path, content = published(STATE)
    path.parent.mkdir(parents=True)
    for wrong in (content[: len(content) // 2], b"", content + b"\0"):
        path.write_bytes(wrong)
        line = refused("resnet18")
        assert f"{path} is damaged or another file" in line
        assert "remove it" in line
        assert path.read_bytes() == wrong


def test_a_file_with_torchvision_s_name_and_other_content_is_refused(downloads: Path) -> None:
    downloads.mkdir(parents=True)
    path = downloads / "efficientnet_b7_lukemelas-c5b4e57e.pth"
    torch.save(STATE, path)
    assert f"{path} is damaged or another file: its SHA-256 does not begin with c5b4e57e" in refused(
        "efficientnet-b7"
    )


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (URLError(OSError(-2, "Name or service not known")), "Name or service not known"),
        (HTTPError("https://weights.invalid", 403, "Forbidden", None, None), "Forbidden"),  # type: ignore[arg-type]
        (TimeoutError("timed out"), "timed out"),
        (RuntimeError('invalid hash value (expected "c5b4e57e", got "00")'), "invalid hash value"),
    ],
)
def test_without_a_network_one_line_says_what_to_do(
    downloads: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def unreachable(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    line = refused("efficientnet-b7")
    for words in (
        f"the ImageNet weights of efficientnet-b7 could not be downloaded ({reason}",
        "put efficientnet_b7_lukemelas-c5b4e57e.pth into",
        str(downloads),
        "--weights none or PATH",
        "examples/pneumo-efficientnet-lite",
    ):
        assert words in line
    assert "//" not in line
    assert list(downloads.iterdir()) == []


def test_a_server_that_does_not_respond_times_out(downloads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()

        class Weights:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/resnet18-00000000.pth"

        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(
            torchvision.models, "get_model_weights", lambda builder: {"IMAGENET1K_V1": Weights}
        )
        monkeypatch.setattr(models, "_TIMEOUT", 0.2)
        assert "could not be downloaded (timed out)" in refused("resnet18")
    assert list(downloads.iterdir()) == []
    assert socket.getdefaulttimeout() is None
