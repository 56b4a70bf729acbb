"""Plugins that open models of their own formats."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumo_cli.errors import PneumoError
from pneumo_cli.installation import pip_install
from pneumo_cli.plugins.discovery import discover


def test_if_one_plugin_raises_it_is_named_and_another_opens_the_model(install, fakes, caplog) -> None:
    sources = {
        "broken": "    raise KeyError('oops')\n",
        "working": "    return 'the predictor' if path.suffix == '.joblib' else None\n",
    }
    head = "from pneumo_cli.api import hookimpl\napi_version = 1\n@hookimpl\ndef open_predictor(path, request):\n"
    for name, body in sources.items():
        install(f"pneumo-{name}", {name: f"{name}_opener"}, {f"{name}_opener": head + body})
    plugins = discover()
    assert plugins.first("open_predictor", path=Path("x.joblib"), request=None) == "the predictor"
    assert "broken (pneumo-broken 1.0): register: open_predictor: KeyError" in str(plugins.problems[-1])
    assert plugins.first("open_predictor", path=Path("x.pt"), request=None) is None
    messages = [record.getMessage() for record in caplog.records]  # shown to the user, who gets no prediction
    assert len(messages) == 2
    assert all(message == str(plugins.problems[-1]) for message in messages)


def test_a_file_whose_reader_fails_is_refused_with_the_reason(install, fakes, pneumo) -> None:
    source = (
        "from pneumo_cli.api import hookimpl\napi_version = 1\n"
        "@hookimpl\ndef open_predictor(path, request):\n    raise KeyError('oops')\n"
    )
    install("pneumo-graphs", {"graphs": "graphs_opener"}, {"graphs_opener": source})
    Path("model.onnx").write_bytes(b"x")
    Image.new("L", (32, 32)).save("image.png")
    ended = pneumo("predict", "model.onnx", "image.png")
    assert ended.code == 2
    assert "model.onnx cannot be read: plugin graphs (pneumo-graphs 1.0)" in ended.stderr
    assert "pip install" not in ended.stderr


def test_an_error_about_a_plugins_own_format_reaches_the_user(install, fakes) -> None:
    source = (
        "from pneumo_cli.api import hookimpl\nfrom pneumo_cli.errors import UsageError\napi_version = 1\n"
        "@hookimpl(tryfirst=True)\ndef open_predictor(path):\n    raise UsageError('a forest of another version')\n"
    )
    install("pneumo-forest", {"forest": "forest_opener"}, {"forest_opener": source})
    with pytest.raises(PneumoError, match="a forest of another version"):
        discover().first("open_predictor", path=None, request=None)


BRIGHTNESS = """
import json
import numpy as np
from pneumo_cli.api import hookimpl
api_version = 1
@hookimpl
def open_predictor(path, request):
    if path.suffix != ".brightness":
        return None
    from pneumo_cli.evaluation.decision_rule import DecisionRule
    from pneumo_cli.inference.predictor import Predictor
    class Brightness(Predictor):
        rule = DecisionRule(("dark", "bright"))
        point = rule.point
        sizes = (32,)
        facts = {"run": str(path), "model": "brightness", "checkpoint": request.checkpoint}
        def logits(self, images):
            return images[32].mean((1, 2)) / 255 - json.loads(path.read_text())["threshold"]
        def maps(self, images, positive):
            raise NotImplementedError
    return Brightness()
"""


def test_a_model_of_a_plugins_format_predicts(install, pneumo, fakes) -> None:
    install("pneumo-brightness", {"brightness": "brightness_opener"}, {"brightness_opener": BRIGHTNESS})
    (fakes / "model.brightness").write_text('{"threshold": 0.5}')
    for name, level in (("dark", 20), ("bright", 240)):
        Image.fromarray(np.full((40, 40), level, np.uint8)).save(fakes / f"{name}.png")
    done = pneumo("predict", "model.brightness", "bright.png", "dark.png", "--json")
    assert done.code == 0, done.stderr
    result = json.loads(done.stdout)
    assert [one["decision"] for one in result["predictions"]] == ["bright", "dark"]
    assert result["model"] == "brightness"


def test_for_an_exported_model_the_missing_plugin_is_named(pneumo, fakes) -> None:
    (fakes / "model.onnx").write_bytes(b"onnx")
    done = pneumo("predict", "model.onnx", "x.png")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == f"pneumo: model.onnx: no plugin here reads it: {pip_install('pneumo-export')}\n"
