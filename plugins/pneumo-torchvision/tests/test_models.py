"""torchvision's classifiers as pneumo offers them: their heads, their stages, their ImageNet weights."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest
import torch
import torchvision
from torch import Tensor, nn

from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.trainers.backbone import stages_of
from pneumo_cli.trainers.pretrained import load_pretrained
from pneumo_torchvision import plugin
from pneumo_torchvision.families import ARCHITECTURES, FAMILIES
from pneumo_torchvision.models import build, imagenet, stages

# Their blocks are those of the smaller ones, more often; computing them takes long.
LARGE = {f"efficientnet-b{n}" for n in (4, 5, 6, 7)}
COMPUTED = [name for name in FAMILIES if name not in LARGE]


def on_meta(name: str, outputs: int = 1) -> nn.Module:
    """A model without values: only names, shapes and counts."""
    with torch.device("meta"):
        return build(name, outputs=outputs)


@pytest.mark.parametrize("name", COMPUTED)
def test_the_stages_are_the_forward_pass(name: str) -> None:
    torch.manual_seed(0)
    model = build(name, outputs=2).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        values = images
        for stage in stages(model):
            values = stage(values)
        expected = model(images)
    assert expected.shape == (2, 2)
    assert torch.equal(values, expected)


def test_the_stages_are_the_forward_pass_while_training_too() -> None:
    model = build("efficientnet-b0").train()  # with dropout and stochastic depth
    images = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        torch.manual_seed(1)
        values = images
        for stage in stages(model):
            values = stage(values)
        torch.manual_seed(1)
        assert torch.equal(values, model(images))
        torch.manual_seed(2)
        assert not torch.equal(values, model(images))


@pytest.mark.parametrize("name", FAMILIES)
def test_each_parameter_is_in_one_stage_in_the_order_of_the_model(name: str) -> None:
    model = on_meta(name)
    cut = stages(model)
    found = [id(parameter) for stage in cut for parameter in stage.parameters()]
    assert found == [id(parameter) for parameter in model.parameters()]
    assert len(cut) > 8  # single blocks, so that any share of the model can be a cached prefix
    (spec,) = [spec for spec in plugin.register_models() if spec.name == name]
    assert len(stages_of(spec, model)) == len(cut)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_head_is_dropout_and_one_new_layer(name: str) -> None:
    model = on_meta(name, outputs=5)
    head = stages(model)[-1]
    assert head is model.get_submodule(ARCHITECTURES[type(model).__name__].head)
    dropout, linear = head.children()
    assert (type(dropout), dropout.p) == (nn.Dropout, 0.2)
    assert (type(linear), linear.out_features) == (nn.Linear, 5)
    # The head's dropout stands for the network's own one before it: there are not two.
    others = [module for stage in stages(model)[:-1] for module in stage.modules()]
    assert not any(isinstance(module, nn.Dropout) for module in others)


@pytest.mark.parametrize("name", FAMILIES)
def test_its_summary_states_its_size(name: str) -> None:
    millions = sum(parameter.numel() for parameter in on_meta(name).parameters()) / 1e6
    assert f"{millions:.1f} million parameters" in FAMILIES[name].summary


def test_b7_is_the_network_of_the_report() -> None:
    model = on_meta("efficientnet-b7")
    tensors = list(model.parameters())
    assert len(tensors) == 711
    assert sum(tensor.numel() for tensor in tensors) == 63_789_521
    assert sum(tensor.numel() for tensor in stages(model)[-1].parameters()) == 2_561
    assert sum(tensor.numel() for tensor in tensors[int(711 * 0.66) :]) == 52_564_657


def test_hidden_layers_of_a_classifier_stay() -> None:
    model = on_meta("mobilenet-v3-large")
    assert [type(layer) for layer in model.classifier] == [
        nn.Linear,
        nn.Hardswish,
        nn.Identity,
        nn.Sequential,
    ]
    assert on_meta("convnext-tiny").classifier[2][1].in_features == 768


@pytest.mark.parametrize("channels", [0, 1, 4])
def test_another_number_of_channels_is_refused(channels: int) -> None:
    with pytest.raises(UsageError, match=f"resnet18 takes images of 3 channels, not {channels}$"):
        build("resnet18", channels=channels)


def test_all_are_registered_and_listing_them_imports_neither_torch_nor_torchvision() -> None:
    code = (
        "import sys; from pneumo_torchvision.plugin import register_models; "
        "print(*(spec.name for spec in register_models())); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'torchvision', 'numpy', 'pydantic')))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == list(FAMILIES)
    registered = {
        entry.spec.name for entry in discover().models.entries() if "torchvision" in entry.spec.factory
    }
    assert registered == set(FAMILIES)


# --- ImageNet weights ------------------------------------------------------------------------------------------


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which torch keeps its downloads: here an empty one."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def published(
    downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[dict[str, Tensor]], tuple[Path, bytes]]:
    """Let torchvision's ResNet-18 weights be others: ``published(state) -> where they belong, their bytes``."""

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


def resnet18() -> dict[str, Tensor]:
    """ResNet-18 as torchvision publishes it: a thousand classes."""
    torch.manual_seed(3)
    state: dict[str, Tensor] = torchvision.models.resnet18().state_dict()
    return state


def refused(name: str) -> str:
    with pytest.raises(UsageError) as caught:
        imagenet(name, Progress())
    (line,) = str(caught.value).splitlines()
    return line


@pytest.mark.parametrize("name", FAMILIES)
def test_torchvision_has_the_weights_of_the_table_for_this_architecture(name: str) -> None:
    family = FAMILIES[name]
    weights = torchvision.models.get_model_weights(family.builder)[family.weights]
    with torch.device("meta"):
        original = torchvision.models.get_model(family.builder, weights=None)
    count = sum(parameter.numel() for parameter in original.parameters())
    assert weights.meta["num_params"] == count
    assert weights.url.endswith(".pth")


def test_weights_that_are_there_are_loaded_without_the_head(
    published: Callable[..., tuple[Path, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)  # not needed
    state = resnet18()
    path, content = published(state)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    model = build("resnet18")
    fresh = model.fc[1].weight.clone()
    (entry,) = [one for one in discover().models.entries() if one.spec.name == "resnet18"]
    said = load_pretrained(model, stages(model), entry, "imagenet", Progress())
    assert said == "resnet18 begins with its ImageNet weights (120 tensors; its head is new)"
    loaded = model.state_dict()
    assert [
        key for key in state if not key.startswith("fc.") and not torch.equal(loaded[key], state[key])
    ] == []
    assert torch.equal(model.fc[1].weight, fresh)


def test_weights_that_are_not_there_are_fetched_once_and_checked(
    published: Callable[..., tuple[Path, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, content = published(resnet18())
    calls = []

    def fetch(url: str, target: str, hash_prefix: str, progress: bool) -> None:
        calls.append((url.rpartition("/")[2], Path(target), hash_prefix))
        Path(target).write_bytes(content)

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    for _ in range(2):
        assert imagenet("resnet18", Progress()).keys() == resnet18().keys()
    assert calls == [(path.name, path, path.stem.rpartition("-")[2])]


def test_half_a_download_and_another_file_are_refused(
    published: Callable[..., tuple[Path, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    path, content = published(resnet18())
    path.parent.mkdir(parents=True)
    for wrong in (content[: len(content) // 2], b"", content + b"\0"):
        path.write_bytes(wrong)
        line = refused("resnet18")
        assert f"{path} is damaged or another file" in line
        assert "remove it" in line
        assert path.read_bytes() == wrong


def test_a_file_of_torchvision_s_own_name_with_other_content_is_refused(downloads: Path) -> None:
    downloads.mkdir(parents=True)
    path = downloads / "efficientnet_b7_lukemelas-c5b4e57e.pth"
    torch.save(resnet18(), path)
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
    def absent(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(torch.hub, "download_url_to_file", absent)
    line = refused("efficientnet-b7")
    for part in (
        f"the ImageNet weights of efficientnet-b7 could not be fetched ({reason}",
        "put efficientnet_b7_lukemelas-c5b4e57e.pth into",
        str(downloads),
        "--weights none or PATH",
        "examples/pneumo-efficientnet-lite",
    ):
        assert part in line
    assert "//" not in line
    assert list(downloads.iterdir()) == []


def test_a_server_that_does_not_answer_is_given_up(downloads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    from pneumo_torchvision import models

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
        monkeypatch.setattr(models, "_PATIENCE", 0.2)
        assert "could not be fetched (timed out)" in refused("resnet18")
    assert list(downloads.iterdir()) == []
    assert socket.getdefaulttimeout() is None
