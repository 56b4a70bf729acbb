"""Graphs that differ from the run, damaged files and misuse: one line on stderr, and nothing is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pneumo_cli.testing import Invocation

Pneumo = Callable[..., Invocation]


@pytest.mark.usefixtures("traced")
def test_a_graph_with_other_logits_than_the_run_is_not_kept(
    run: Path, fakes: Path, pneumo: Pneumo, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pneumo_export import verification

    reference = verification.reference_outputs

    def shifted(*given: Any) -> Any:
        return {name: values + 3e-4 for name, values in reference(*given).items()}

    monkeypatch.setattr(verification, "reference_outputs", shifted)
    for form in ("torch", "onnx", "bundle"):
        done = pneumo("export", run, "--format", form, "--out", "wrong")
        assert (done.code, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
        assert "gives other logits than the run" in done.stderr
        assert list(fakes.iterdir()) == []


def test_damage_is_one_line(bundle: Path, graph: Path, images: Path, pneumo: Pneumo, tmp_path: Path) -> None:
    import onnx

    def damaged(name: str, change: Callable[[Path], object]) -> Path:
        copy = shutil.copytree(bundle, tmp_path / name)
        change(copy)
        return copy

    def description(change: Callable[[Any], object]) -> Callable[[Path], object]:
        def apply(copy: Path) -> None:
            plain = json.loads((copy / "model.json").read_text())
            change(plain)
            (copy / "model.json").write_text(json.dumps(plain))

        return apply

    def detector(plain: Any) -> Any:
        return plain["rule"]["novelty"]

    content = graph.read_bytes()
    (tmp_path / "torn.onnx").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.onnx").write_text("no graph")
    foreign = onnx.load(graph)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    cases = {
        damaged("torn", lambda copy: (copy / "model.onnx").write_bytes(content[:1000])): (1, "does not match"),
        damaged("gone", lambda copy: (copy / "model.onnx").unlink()): (1, "it has no model.onnx"),
        damaged("text", lambda copy: (copy / "model.json").write_text("{")): (1, "not JSON"),
        damaged("newer", description(lambda plain: plain.update(format=3))): (2, "another version"),
        damaged("tensor", description(lambda plain: detector(plain)["mean"].update(base64="AAAA"))): (1, "damaged"),
        damaged("size", description(lambda plain: plain["input"].update(size=10**9))): (1, "damaged"),
        damaged("other", description(lambda plain: plain["input"].update(size=64))): (1, "does not take"),
        damaged("rule", description(lambda plain: plain.pop("rule"))): (1, "damaged"),
        tmp_path / "torn.onnx": (1, "cannot be loaded"),
        tmp_path / "text.onnx": (1, "cannot be loaded"),
        tmp_path / "foreign.onnx": (2, "was not exported by pneumo"),
        tmp_path / "missing.onnx": (2, "there is no file"),
        bundle / "model.pt2": (2, "can run any code"),
    }  # fmt: skip
    for path, (code, words) in cases.items():
        done = pneumo("predict", path, images)
        assert (done.code, done.stdout, len(done.stderr.splitlines())) == (code, "", 1), (path, done.stderr)
        assert words in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("export", "RUN", "--format", "onyx"), "did you mean onnx?"),
        (("export", "RUN", "--checkpoint", "first"), "is none of best, last"),
        (("export", "RUN", "--format", "torch", "--operating-point", "defualt"), "did you mean default?"),
        (("export", "nowhere"), "there is no run folder"),
        (("export", "RUN", "--format", "torch", "--check-on", "nothing-*.png"), "nothing-*.png"),
        (("predict", "ONNX", "images", "--cam", "maps"), "use the run, or a bundle"),
        (("predict", "ONNX", "images", "--precision", "bf16"), "computes in fp32"),
        (("predict", "ONNX", "images", "--checkpoint", "last"), "holds only the checkpoint best"),
        (("predict", "RUN", "images", "--with", "RUN"), "is named twice"),
    ],
)
def test_misuse_is_one_line(
    run: Path, graph: Path, images: Path, pneumo: Pneumo, arguments: tuple[str, ...], words: str
) -> None:
    places = {"RUN": run, "ONNX": graph}
    done = pneumo(*(places.get(argument, argument) for argument in arguments))
    assert (done.code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
    assert words in done.stderr


def test_generative_models_are_not_exported(trained_run: Callable[..., Path], pneumo: Pneumo) -> None:
    done = pneumo("export", trained_run("duel", epochs=1), "--format", "torch")
    assert (done.code, done.stdout) == (2, "")
    assert "classifies no images" in done.stderr


def test_a_generative_run_is_refused_before_torch_is_needed(fakes: Path, pneumo: Pneumo) -> None:
    """Its settings say so; it needs no checkpoint, and names what makes its images."""
    run = fakes / "made"
    run.mkdir()
    (run / "run.toml").write_text('[run]\ntrainer = "pneumo-fake:painter"\n')
    for arguments in ((), ("--format", "onyx"), ("--checkpoint", "first")):
        done = pneumo("export", run, *arguments)
        assert (done.code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
        assert (
            "is a run of painter, which classifies no images and predicts no numbers or masks" in done.stderr
        )
        assert f"pneumo generate {run} --out DIR" in done.stderr


def test_a_group_of_runs_is_not_exported(run: Path, pneumo: Pneumo, tmp_path: Path) -> None:
    settings = (run / "run.toml").read_text()
    (tmp_path / "group.toml").write_text(settings.replace("\nseeds = 1\n", "\nseeds = 2\n"))
    done = pneumo("export", tmp_path, "--format", "torch")
    assert (done.code, len(done.stderr.splitlines())) == (2, 1)
    assert "is a group of runs" in done.stderr


def test_the_check_includes_the_named_files(run: Path, images: Path, pneumo: Pneumo) -> None:
    done = pneumo("export", run, "--format", "torch", "--check-on", images, "--json")
    assert done.code == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["checks"][0]["images"] == 16 + 17
    assert Path(result["path"]).name == f"fake-{run.name}.pt2"
    (images / "bad.png").write_bytes(b"no image")
    done = pneumo("export", run, "--format", "torch", "--out", "new.pt2", "--check-on", images)
    assert (done.code, len(done.stderr.splitlines())) == (1, 1)
    assert "bad.png cannot be read" in done.stderr
    assert not Path("new.pt2").exists()
