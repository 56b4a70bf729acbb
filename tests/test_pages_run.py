"""The Python code of the documentation runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from pneumo_cli.testing import Invocation

DOCS = Path(__file__).parent.parent / "docs"
IMPORTS = """
import torch
import torch.nn.functional as F

from pneumo_cli.api import Preset, TrainerSpec, hookimpl
from pneumo_cli.evaluation import Evaluation
from pneumo_cli.runs import Monitor
from pneumo_cli.trainers import Trainer

api_version = 1


@hookimpl
def register_trainers():
    yield TrainerSpec(
        name="probe", summary="The probe of the page", kind="classifier", model="tiny-net",
        trainer=__name__ + ":Probe", settings="pneumo_cli.settings.schema:TrainerSettings",
        presets=(Preset(name="source", summary="As it is"),),
    )

"""


def code_blocks(page: str) -> list[str]:
    return re.findall(
        r"^```python\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def test_the_trainer_of_the_page_on_plugins_trains(pneumo: Callable[..., Invocation], fakes: Path) -> None:
    (block,) = code_blocks("plugins.md")
    (fakes / "probe.py").write_text(IMPORTS + block)
    flags = ("--model", "tiny-net", "--dataset", "tiny", "--image-size", 32, "--epochs", 2)
    ended = pneumo("run", "probe", "--plugin", "probe.py", *flags)
    assert ended.code == 0, ended.stderr
    (report,) = (fakes / "runs").glob("probe/*/report.json")
    assert 0 <= json.loads(report.read_text())["evaluations"]["test"]["accuracy"] <= 1
