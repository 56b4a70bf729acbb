"""timm's classifiers as models of pneumo: found by name, built for any size that timm supports, with its data."""

from __future__ import annotations

import subprocess
import sys

import pytest
import timm
import torch

from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.testing import ModelConformance
from pneumo_timm.catalog import members
from pneumo_timm.models import build


class TestConvolutional(ModelConformance):
    name = "timm/test_resnet"


class TestTransformer(ModelConformance):
    name = "pneumo-timm:timm/test_vit.r160_in1k"


def test_whatever_timm_lists_is_a_model() -> None:
    names = [spec.name for spec in members("timm/*")]
    assert names == [f"timm/{name}" for name in (*timm.list_models(), *timm.list_pretrained())]


def test_size_normalisation_and_weights_are_those_of_timm_s_data() -> None:
    (default,) = members("timm/vit_small_patch14_dinov2")
    (tagged,) = members("timm/vit_small_patch14_dinov2.lvd142m")
    assert default.summary == tagged.summary == "518 px, weights lvd142m (apache-2.0)"
    assert (default.size, default.trained_on) == (518, "lvd142m")
    (inception,) = members("timm/inception_v4")
    assert inception.mean == inception.std == (0.5, 0.5, 0.5)
    bare = next(spec for spec in members("timm/*") if not spec.weights)
    assert bare.summary.endswith("px, no pretrained weights")


def test_registering_and_listing_import_neither_torch_nor_timm() -> None:
    program = (
        "import atexit, sys; from pneumo_cli.cli.main import main; "
        "atexit.register(lambda: print(*sorted({'torch', 'timm', 'huggingface_hub', 'numpy'} & set(sys.modules)), "
        "file=sys.stderr)); sys.argv[1:] = ['list-models']; main()"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stderr.strip() == ""
    (line,) = [line for line in ended.stdout.splitlines() if "pneumo-timm" in line]
    assert line.startswith("timm/* ")


def test_an_unknown_name_gets_similar_ones() -> None:
    with pytest.raises(
        UsageError, match=r"unknown model 'timm/convnextv2_tin'; did you mean timm/convnextv2_tiny"
    ):
        discover().models.get("timm/convnextv2_tin")
    with pytest.raises(UsageError, match=r"'timm/qqq'; pneumo list-models timm/ shows [\d,]+ names"):
        discover().models.get("timm/qqq")


@pytest.mark.parametrize("name", ["test_vit", "vit_small_patch14_dinov2", "swin_tiny_patch4_window7_224"])
def test_transformers_take_other_sizes_than_their_own(name: str) -> None:
    model = build(f"timm/{name}").eval()
    with torch.no_grad():
        assert {model(torch.zeros(1, 3, size, size)).shape for size in (64, 100)} == {(1, 1)}
    # Their weights keep the shapes of the pretrained ones.
    with torch.device("meta"):
        own = timm.create_model(name, num_classes=1).state_dict()
    assert {key: value.shape for key, value in model.state_dict().items()} == {
        k: v.shape for k, v in own.items()
    }


@pytest.mark.parametrize("channels", [0, 1, 4])
def test_another_number_of_channels_is_refused(channels: int) -> None:
    with pytest.raises(UsageError, match=f"timm/test_resnet takes images of 3 channels, not {channels}$"):
        build("timm/test_resnet", channels=channels)
