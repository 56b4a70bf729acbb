"""Features of images of any size, by pixels, a registered backbone or a run; an invalid extractor is an error."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.generative.features import Extractor
from pneumo_cli.plugins.discovery import Plugins, discover
from pneumo_cli.registry import Provenance
from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runtime.devices import Device
from pneumo_cli.settings.resolve import resolve
from pneumo_cli.specs import ModelSpec
from pneumo_cli.trainers.feature_extractors import find_extractor

CPU = Device(torch.device("cpu"), "fp32", "CPU")
IMAGES = torch.randint(0, 256, (70, 48, 48), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def backbone(channels: int = 3, outputs: int = 1) -> nn.Sequential:
    """Takes only images of 128 px, and is random in training mode."""
    return nn.Sequential(
        nn.AvgPool2d(32),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.LayerNorm([channels * 16], elementwise_affine=False),
        nn.Linear(channels * 16, 5),
        nn.Linear(5, outputs),
    )


def trained(name: str, progress: object) -> dict[str, Tensor]:
    weight = torch.linspace(-1, 1, 240).view(5, 48)
    return {
        "4.weight": weight,
        "4.bias": torch.zeros(5),
        "5.weight": torch.ones(1000, 5),
        "5.bias": torch.ones(1000),
    }


def unavailable(name: str, progress: object) -> dict[str, Tensor]:
    raise UsageError("the server does not answer")


class Whole(nn.Module):
    """Without stages."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """Registered models of several kinds."""
    module = ModuleType("extractor_models")
    vars(module).update(
        backbone=backbone,
        trained=trained,
        unavailable=unavailable,
        small=lambda: nn.Sequential(nn.Flatten(), nn.Linear(99, 5), nn.Linear(5, 1)),
        small_weights=lambda name, progress: {"1.weight": torch.zeros(5, 99), "1.bias": torch.zeros(5)},
        whole=Whole,
        whole_weights=lambda name, progress: Whole().state_dict(),
    )
    monkeypatch.setitem(sys.modules, module.__name__, module)
    found = Plugins()

    def add(name: str, factory: str, weights: str = "", kind: str = "classifier") -> None:
        references = {"factory": f"extractor_models:{factory}"}
        if weights:
            references["weights"] = f"extractor_models:{weights}"
        found.models.add(ModelSpec(name=name, kind=kind, summary="A net", **references), Provenance("p", "1"))

    add("pooled-net", "backbone", "trained")
    add("random-net", "backbone")
    add("far-net", "backbone", "unavailable")
    add("narrow-net", "small", "small_weights")
    add("whole-net", "whole", "whole_weights")
    add("painter", "backbone", "trained", kind="gan")
    return found


def refused(wanted: str, plugins: Plugins) -> str:
    with pytest.raises(UsageError) as caught:
        find_extractor(wanted, plugins, CPU)
    (line,) = str(caught.value).splitlines()
    return line


@pytest.mark.parametrize("size", [8, 32, 48, 64])
def test_pixels_are_areas_of_images_of_any_size(plugins: Plugins, size: int) -> None:
    pixels = find_extractor("pixels", plugins, CPU)
    grey = torch.full((3, size, size), 255, dtype=torch.uint8)
    grey[:, :, : size // 2] = 0
    features = pixels(grey).view(3, 32, 32)
    assert pixels.name == "pixels at 32 px"
    assert pixels.dimension == pixels.module.num_features == 1024
    assert (features[:, :, :16] == -2).all()
    assert (features[:, :, 16:] == 2).all()


def test_auto_is_the_preferred_backbone_where_it_is_installed_and_else_pixels(plugins: Plugins) -> None:
    assert find_extractor("auto", plugins, CPU).slug == "pixels"
    spec = ModelSpec(
        name="efficientnet-lite0",
        kind="classifier",
        summary="A net",
        factory="extractor_models:backbone",
        weights="extractor_models:trained",
    )
    plugins.models.add(spec, Provenance("lite", "1"))
    found = find_extractor("auto", plugins, CPU)
    assert (found.slug, found.name) == ("efficientnet-lite0", "efficientnet-lite0 at 128 px (ImageNet)")


def test_a_backbone_gives_the_output_of_all_stages_but_the_head_for_normalised_images(
    plugins: Plugins,
) -> None:
    found = find_extractor("pooled-net", plugins, CPU)
    assert found.dimension == found.module.num_features == 5
    images = IMAGES[:4].repeat_interleave(3, 1).repeat_interleave(3, 2)[:, :128, :128]
    model = backbone().eval()
    model[4].weight.data = trained("", None)["4.weight"]
    model[4].bias.data.zero_()
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    inputs = (images.unsqueeze(1).float() / 255 - mean) / std
    with torch.no_grad():
        expected = model[:-1](inputs)
    assert torch.allclose(found(images), expected, atol=1e-5)


@pytest.mark.parametrize("wanted", ["pixels", "pooled-net", "p:pooled-net"])
def test_features_are_float32_on_the_cpu_and_the_same_each_time_and_in_any_batch(
    plugins: Plugins, wanted: str
) -> None:
    found = find_extractor(wanted, plugins, CPU)
    found.module.train()
    features = found(IMAGES)
    assert features.shape == (70, found.dimension)
    assert features.dtype == torch.float32
    assert not features.requires_grad
    assert torch.equal(features, found(IMAGES))
    assert torch.allclose(features[65:], found(IMAGES[65:]), atol=1e-5)
    assert found(IMAGES[:0]).shape == (0, found.dimension)


def test_features_are_float32_even_inside_the_callers_autocast(plugins: Plugins) -> None:
    found = find_extractor("pooled-net", plugins, CPU)
    features = found(IMAGES)
    with torch.autocast("cpu", torch.bfloat16):
        inside, made_inside = found(IMAGES), find_extractor("pooled-net", plugins, CPU)(IMAGES)
    # float32 has 24 bits and bfloat16 8: rounding to the latter would change nearly all features, by up to 0.4 %.
    for others in (inside, made_inside):
        torch.testing.assert_close(others, features, rtol=1e-5, atol=1e-6)
    assert (features.bfloat16().float() != features).float().mean() > 0.9


def test_making_an_extractor_does_not_change_the_global_generator(plugins: Plugins) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    find_extractor("pooled-net", plugins, CPU)
    assert torch.equal(torch.get_rng_state(), before)


def test_features_that_are_not_finite_are_an_error_that_names_the_extractor() -> None:
    broken = Extractor("a broken net", "broken", 4, nn.Sequential(nn.Flatten(), nn.Threshold(1e9, torch.nan)))
    with pytest.raises(PneumoError, match=r"a broken net gives features .* not finite"):
        broken(torch.zeros(2, 2, 2))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("poled-net", "unknown extractor 'poled-net'; did you mean pooled-net"),
        ("zzz", "unknown extractor 'zzz'; known: auto, pixels ("),
        ("random-net", "this model has no ImageNet weights"),
        ("painter", "this model is of kind gan"),
        ("far-net", "the server does not answer"),
        ("narrow-net", "p:narrow-net computes no features of 128 px images"),
        ("whole-net", "p:whole-net does not say which part of it is its head"),
        ("runs/cnn/nowhere", "there is no run folder runs/cnn/nowhere"),
    ],
)
def test_an_invalid_extractor_is_an_error_of_one_line(plugins: Plugins, wanted: str, message: str) -> None:
    assert message in refused(wanted, plugins)


# --- the folder of a run ---------------------------------------------------------------------------------------


def recorded(trainer: str, path: Path, **settings: object) -> RunFolder:
    """A run's folder with its settings and nothing else."""
    plugins = discover()
    entry = plugins.trainers.get(trainer)
    path.mkdir(parents=True)
    folder = RunFolder(path)
    facts = {"trainer": entry.qualified_name, "dataset": "tiny"}
    folder.settings.write_text(resolve(plugins, entry, settings, environ={}).to_toml(facts))
    return folder


def checkpoint(folder: RunFolder, model: nn.Module, **more: object) -> None:
    state = {"epoch": 1, "fingerprint": "0f", "model": model.state_dict(), **more}
    Checkpoints(folder.checkpoints).save("best", state)


def tiny(seed: int) -> nn.Sequential:
    from pneumo_fake.models import tiny_net

    torch.manual_seed(seed)
    model = tiny_net()
    for layer in model:
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
    return model.eval()


def test_a_run_gives_the_features_of_its_best_checkpoint_at_its_own_size(fakes: Path) -> None:
    folder = recorded("fake", fakes / "runs" / "fake" / "2026-11-24-a1b2", image_size=24, standardize=True)
    model = tiny(3)
    average = {f"module.{name}": value for name, value in model.state_dict().items()}
    checkpoint(folder, tiny(4), average={**average, "n_averaged": torch.tensor(2)})
    found = find_extractor(str(folder.path), discover(), CPU)
    assert found.name == "run fake/2026-11-24-a1b2 (tiny-net at 24 px)"
    assert (found.slug, found.dimension) == ("fake-2026-11-24-a1b2", 32)
    half = IMAGES[:, :24, :24]
    grey = half.unsqueeze(1).double() / 255
    standard = (grey - grey.mean((2, 3), keepdim=True)) / grey.std((2, 3), keepdim=True, correction=0)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        expected = model[:-1](((standard * 0.25 + 0.5 - mean) / std).float())
    assert torch.allclose(found(half), expected, atol=1e-3)
    assert found(IMAGES).shape == (70, 32)


def test_an_unusable_run_is_an_error_of_one_line(fakes: Path) -> None:
    from pneumo_fake.models import TwoNets, plain_net

    plugins = discover()
    duel = recorded("duel", fakes / "runs" / "duel" / "a")
    checkpoint(duel, TwoNets())
    assert "this is a run of duel, which neither classifies nor predicts" in refused(str(duel.path), plugins)
    fake = recorded("fake", fakes / "runs" / "fake" / "b")
    assert "there is no checkpoint" in refused(str(fake.path), plugins)
    checkpoint(fake, plain_net())
    assert "does not fit the model" in refused(str(fake.path), plugins)
    assert "it has no run.toml" in refused(str(fakes / "runs"), plugins)
