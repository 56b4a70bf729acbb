"""``pneumo run fine-tuning`` with valid and invalid weights and settings."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest
import torch

from pneumo_cli.testing import Invocation, invoke, write_weights
from pneumo_cli.training.runner import Runner
from pneumo_torchvision.models import build

SMALL = (*("--dataset", "conformance-tiny", "--image-size", 32), *("--epochs", 1, "--batch-size", 16))


def pneumo(*arguments: object) -> Invocation:
    return invoke(*arguments, suite_datasets=True)


def run(*flags: object) -> Invocation:
    return pneumo(
        "run", "fine-tuning", "--model", "mobilenet-v3-small", "--precision", "fp32", *SMALL, *flags
    )


def refused(ended: Invocation, work: Path) -> str:
    """The one line of an invocation that was refused before anything was written."""
    assert ended.code == 2, ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if "pneumo: decoding" not in line]
    assert not list(work.rglob("runs"))
    return line


class Malicious:
    """Runs code when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.trace,))


def test_a_weights_file_that_does_not_exist(work: Path) -> None:
    assert "weights = 'absent.pt': this file does not exist" in refused(run("--weights", "absent.pt"), work)


def test_a_folder_of_weights(work: Path) -> None:
    assert "is a folder" in refused(run("--weights", "."), work)


def test_a_file_without_weights(work: Path) -> None:
    Path("noise.pt").write_bytes(bytes(range(256)) * 8)
    assert "damaged, or no file of torch.save" in refused(run("--weights", "noise.pt"), work)


def test_a_checkpoint_with_code_inside_is_not_run(work: Path) -> None:
    torch.save({"classifier.weight": Malicious(work / "trace")}, "evil.pt")
    line = refused(run("--weights", "evil.pt"), work)
    assert "it holds code" in line
    Path("evil.pkl").write_bytes(pickle.dumps(Malicious(work / "trace")))
    refused(run("--weights", "evil.pkl"), work)
    assert not (work / "trace").exists()


def test_a_state_dict_of_another_architecture(work: Path) -> None:
    torch.save(build("resnet18").state_dict(), "resnet.pt")
    line = refused(run("--weights", "resnet.pt"), work)
    assert "missing (features.0.0.weight" in line
    assert "unknown (conv1.weight" in line
    assert "another architecture?" in line


@pytest.mark.parametrize("share", ["1.5", "-0.1"])
def test_a_share_out_of_bounds(work: Path, share: str) -> None:
    assert f"freeze = '{share}' (--freeze)" in refused(run("--freeze", share), work)


def test_an_unknown_model(work: Path) -> None:
    line = refused(pneumo("run", "fine-tuning", "--model", "efficentnet-b7", *SMALL), work)
    assert "efficientnet-b7" in line


def test_a_model_that_cannot_take_the_image_size(work: Path) -> None:
    ended = pneumo(
        "run", "fine-tuning", "--model", "densenet121", "--weights", "none", *SMALL, "--image-size", 16
    )
    assert "cannot take images of 3 x 16 x 16" in refused(ended, work)


def test_views_without_effect(work: Path) -> None:
    for flags, reason in (
        (("--no-augment",), "without augmentation all views are the same"),
        (("--freeze", 0), "no first stage of mobilenet-v3-small is frozen"),
        (("--freeze-mode", "source"), "stays random"),
        (("--no-feature-cache",), "turned off"),
    ):
        assert reason in refused(run("--weights", "none", "--feature-views", 4, *flags), work)


def test_imagenet_weights_of_a_model_that_has_none(work: Path) -> None:
    pytest.importorskip("pneumo_cnn", reason="the model is that of the plugin pneumo-cnn")
    line = refused(pneumo("run", "fine-tuning", "--model", "cnn", *SMALL), work)
    assert "has no ImageNet weights: use --weights none" in line


def test_imagenet_weights_without_a_network(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*arguments: object, **options: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(work / "torch"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", absent)
    line = refused(run(), work)
    assert "Name or service not known" in line
    assert "mobilenet_v3_small-047dcff4.pth" in line
    assert str(work / "torch") in line
    assert "--weights none" in line


def test_subtypes_of_a_dataset_that_has_only_one(work: Path) -> None:
    pytest.importorskip("pneumo_chest_xray", reason="the layout is that of the plugin pneumo-chest-xray")
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for pool, count in (("train", 8), ("test", 2)):
        for name, title in (("NORMAL", "IM-{:04}-0001"), ("PNEUMONIA", "person{}_bacteria_1")):
            folder = work / "films" / pool / name
            folder.mkdir(parents=True)
            for number in range(count):
                patient = number + (100 if pool == "test" else 0)
                pixels = rng.integers(0, 255, (24, 24)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{title.format(patient)}.jpeg")
    ended = run("--weights", "none", "--subtypes", "--dataset", "chest-xray", "--data-root", "films")
    assert "use --no-subtypes" in refused(ended, work)


def test_a_finished_run_does_not_need_its_weights_file(work: Path, trained: Callable[..., Runner]) -> None:
    write_weights(Path("weights.pt"))
    first = trained(weights="weights.pt", epochs=1, augment=False).run
    assert any("the weights in weights.pt (50 tensors; its head is new)" in note for note in first.notes)
    best = first.folder.checkpoints / "best.pt"
    second = trained(weights=str(best), epochs=1, augment=False).run
    assert any("its head too" in note for note in second.notes)
    Path("weights.pt").unlink()
    ended = pneumo("evaluate", first.folder.path)
    assert ended.code == 0, ended.stderr


def test_without_efficientnet_lite0_quick_falls_back_to_a_small_model_and_says_so(work: Path) -> None:
    ended = invoke("run", "fine-tuning", "--preset", "quick", "--print-config")
    assert ended.code == 0
    if 'model = "efficientnet-lite0"' in ended.stdout:
        pytest.skip("efficientnet-lite0 is installed here")
    assert 'model = "mobilenet-v3-small"' in ended.stdout
    assert 'weights = "none"' in ended.stdout
    line, hint = ended.stderr.splitlines()
    assert line.startswith(
        "pneumo: efficientnet-lite0 is not installed: the preset quick uses model mobilenet"
    )
    assert "pip install" in hint
    named = invoke("run", "fine-tuning", "--preset", "quick", "--model", "resnet18", "--print-config")
    assert named.stderr == ""
    assert 'weights = "imagenet"' in named.stdout
