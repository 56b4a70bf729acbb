"""``pneumo export``: what is handed on answers as the run does, says what it is, and is never half written."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pneumo_cli.evaluation.decision_rule import DecisionRule
from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.testing import Invocation, TinyDataset
from pneumo_export.bundle import DESCRIPTION, Description

Pneumo = Callable[..., Invocation]

RADIOGRAPHS = Path(__file__).parents[4] / "shared" / "data" / "chest_xray" / "test"


@pytest.fixture(scope="module")
def kept() -> dict[str, Path]:
    """What these tests share: what was exported from the run."""
    return {}


@pytest.fixture
def run(finished_run: Callable[..., Path]) -> Path:
    """A finished run of a classifier."""
    return finished_run("fake", "--split", "patient")


@pytest.fixture
def bundle(
    kept: dict[str, Path], run: Path, pneumo: Pneumo, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Its bundle, made once, by default deciding at another point than the run; not to be changed."""
    if "bundle" not in kept:
        target = tmp_path_factory.mktemp("export") / "bundle"
        done = pneumo("export", run, "--out", target, "--operating-point", "screening")
        assert done.code == 0, done.stderr
        assert done.stdout.strip() == str(target)
        assert len(re.findall(r"largest difference of logits on 16 images", done.stderr)) == 2
        kept["bundle"] = target
    return kept["bundle"]


@pytest.fixture
def graph(kept: dict[str, Path], run: Path, pneumo: Pneumo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its ONNX file, made once; not to be changed."""
    if "graph" not in kept:
        kept["graph"] = tmp_path_factory.mktemp("export") / "model.onnx"
        done = pneumo("export", run, "--format", "onnx", "--out", kept["graph"], "--json")
        assert done.code == 0, done.stderr
        (check,) = json.loads(done.stdout)["checks"]
        assert check["largest_difference"] <= 1e-4
        assert check["runtime"].startswith("onnxruntime ")
    return kept["graph"]


@pytest.fixture
def films(fakes: Path) -> Path:
    """The test images of that run as files, and one that is unlike them."""
    dataset = TinyDataset("tiny")
    folder = fakes / "films"
    folder.mkdir()
    for number, record in enumerate(r for r in dataset.records if r.pool == "test"):
        Image.fromarray(dataset.read(record)).save(folder / f"{number:02}.png")
    Image.fromarray(np.tile(np.array([0, 255] * 16, np.uint8), (32, 1))).save(folder / "stripes.png")
    return folder


def predicted(pneumo: Pneumo, *arguments: object) -> dict[str, Any]:
    done = pneumo("predict", *arguments, "--json")
    assert done.code == 0, done.stderr
    return json.loads(done.stdout)


def numbers(found: dict[str, Any], name: str) -> np.ndarray:
    return np.array([one[name] for one in found["predictions"]])


def test_run_onnx_file_and_bundle_say_the_same_of_every_image(
    run: Path, bundle: Path, graph: Path, films: Path, pneumo: Pneumo
) -> None:
    own = predicted(pneumo, run, films, "--operating-point", "screening")
    for exported in (bundle, graph):
        found = predicted(pneumo, exported, films, "--operating-point", "screening")
        assert np.abs(numbers(found, "logit") - numbers(own, "logit")).max() <= 1e-4
        assert np.abs(numbers(found, "probability") - numbers(own, "probability")).max() <= 1e-4
        # The same numbers in another order of addition: a processor decides what the last bits are.
        assert np.allclose(numbers(found, "ood_score"), numbers(own, "ood_score"), rtol=1e-5, atol=0)
        clear = np.abs(numbers(own, "logit") - own["operating_point"]["logit_threshold"]) > 1e-4
        assert numbers(found, "decision")[clear].tolist() == numbers(own, "decision")[clear].tolist()
        clear = np.abs(numbers(own, "ood_score") / own["ood_threshold"] - 1) > 1e-5
        name = "out_of_distribution"
        assert numbers(found, name)[clear].tolist() == numbers(own, name)[clear].tolist()
        for name in (
            "classes",
            "temperature",
            "bias",
            "prevalence",
            "operating_point",
            "ood_threshold",
            "model",
            "epoch",
            "synthetic",
            "data_fingerprint",
        ):
            assert found[name] == own[name]
    assert numbers(own, "out_of_distribution")[-1], "the comparison has to be of something"
    assert len(set(numbers(own, "decision"))) == 2


def test_the_graph_s_probability_is_calibrated_and_its_description_says_how_and_for_whom(
    graph: Path, films: Path, pneumo: Pneumo
) -> None:
    import onnxruntime

    files = sorted(films.iterdir())
    levels = np.stack([np.asarray(Image.open(file)) for file in files])[:, None] / np.float32(255)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    _, probabilities = session.run(["logit", "probability"], {"images": levels})
    own = predicted(pneumo, graph, *files)
    assert np.abs(probabilities - numbers(own, "probability")).max() <= 1e-6
    said = session.get_modelmeta().custom_metadata_map
    rule = json.loads(said["pneumo"])["rule"]
    assert (own["temperature"], own["bias"]) == (rule["temperature"], rule["bias"])
    assert (json.loads(said["bias"]), json.loads(said["prevalence"])) == (own["bias"], own["prevalence"])
    assert own["bias"] != 0
    # What was asked for another prevalence is predict's own; the file stays what it is.
    rare = predicted(pneumo, graph, *files, "--prevalence", "0.05")
    assert (numbers(rare, "probability") < numbers(own, "probability")).all()


def test_a_model_that_was_exported_before_there_was_a_bias_is_read_with_none(
    bundle: Path, films: Path, pneumo: Pneumo, tmp_path: Path
) -> None:
    old = shutil.copytree(bundle, tmp_path / "old")
    plain = json.loads((old / "model.json").read_text())
    plain["format"] = 1
    del plain["rule"]["bias"]
    (old / "model.json").write_text(json.dumps(plain))
    found = predicted(pneumo, old, films)
    assert (found["temperature"], found["bias"]) == (plain["rule"]["temperature"], 0.0)


def test_the_operating_point_that_was_chosen_is_the_exported_model_s_own(
    bundle: Path, graph: Path, films: Path, pneumo: Pneumo
) -> None:
    assert predicted(pneumo, bundle, films)["operating_point"]["name"] == "screening"
    assert predicted(pneumo, graph, films)["operating_point"]["name"] == "default"
    # As the run folder that a bundle is as well, which draws maps, it decides no differently.
    assert predicted(pneumo, bundle, films, "--cam", "maps")["operating_point"]["name"] == "screening"
    assert len(list(Path("maps").iterdir())) == 17


def test_the_torch_program_answers_for_any_number_of_images(
    bundle: Path, run: Path, films: Path, pneumo: Pneumo
) -> None:
    files = sorted(films.iterdir())
    levels = np.stack([np.asarray(Image.open(file)) for file in files])
    own = predicted(pneumo, run, *files)
    extra = {"model.json": ""}
    program = torch.export.load(bundle / "model.pt2", extra_files=extra).module()
    for batch in (1, 2, 17):
        logits, probabilities = program(torch.from_numpy(levels[:batch, None] / np.float32(255)))
        assert logits.shape == probabilities.shape == (batch,)
        assert np.abs(logits.detach().numpy() - numbers(own, "logit")[:batch]).max() <= 1e-4
        assert np.abs(probabilities.detach().numpy() - numbers(own, "probability")[:batch]).max() <= 1e-4
    assert json.loads(extra["model.json"])["classes"] == ["NORMAL", "PNEUMONIA"]


def test_the_card_s_program_runs_without_pneumo_and_says_what_predict_says(
    bundle: Path, films: Path, pneumo: Pneumo
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (bundle / "README.md").read_text(), re.DOTALL)
    assert "import pneumo" not in code
    files = sorted(films.iterdir())
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, *map(str, files)],
        cwd=bundle,
        capture_output=True,
        text=True,
        check=True,
    )
    for line, one in zip(
        done.stdout.splitlines(), predicted(pneumo, bundle, *files)["predictions"], strict=True
    ):
        said = f"{one['file']}: {one['decision']} (PNEUMONIA {one['probability']:.1%})"
        assert line.replace(str(films.parent) + "/", "") == said.replace(str(films.parent) + "/", "")


def test_the_card_says_what_the_report_says(bundle: Path, run: Path) -> None:
    card = (bundle / "README.md").read_text()
    report = json.loads((run / "report.json").read_text())
    assert "no medical device" in card
    for split in ("validation", "test"):
        value, (low, high) = report["evaluations"][split]["auc"], report["intervals"][split]["auc"]
        assert f"{value:.3f} ({low:.3f} to {high:.3f})" in card
    for rule in report["caveats"]:
        assert " ".join(rule["text"].split()) in card
    assert report["dataset"]["fingerprint"] in card
    for point in report["details"]["test"]["operating_points"].values():
        assert f"{point['logit_threshold']:.4f}" in card
    assert "`screening` (in use)" in card


def test_nothing_in_a_bundle_tells_of_the_machine_or_of_patients(bundle: Path, run: Path) -> None:
    kept = [path for path in bundle.rglob("*") if path.is_file()]
    assert {path.relative_to(bundle).as_posix() for path in kept} == {
        "README.md",
        "model.json",
        "model.onnx",
        "model.pt2",
        "run.toml",
        "environment.json",
        "checkpoints/best.pt",
        "checkpoints/manifest.json",
    }
    names = [str(run.parents[1]), str(Path(torch.__file__).parent), str(Path(__file__).parents[1])]
    names += [record.name for record in TinyDataset("tiny").records[:3]]
    for path in kept:
        content = path.read_bytes()
        if path.suffix in (".pt2", ".pt"):
            archive = zipfile.ZipFile(path)
            content = b"".join(archive.read(name) for name in archive.namelist())
        for name in names:
            assert name.encode() not in content, f"{path.name} names {name}"


def test_exported_models_need_no_plugin_and_a_run_says_which_one_it_misses(
    run: Path,
    bundle: Path,
    graph: Path,
    films: Path,
    pneumo: Pneumo,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    copy = shutil.copytree(run, tmp_path / "elsewhere" / "run")
    moved = shutil.copytree(bundle, tmp_path / "elsewhere" / "bundle")
    own = numbers(predicted(pneumo, run, films), "logit").tolist()
    assert numbers(predicted(pneumo, copy, films), "logit").tolist() == own
    monkeypatch.setenv("PNEUMO_DISABLE_PLUGINS", "fake")
    for exported in (moved, graph):
        assert numbers(predicted(pneumo, exported, films), "logit") == pytest.approx(own, abs=1e-4)
    for command in (
        ("predict", copy, films),
        ("export", copy, "--format", "torch"),
        ("predict", moved, films, "--cam", "m"),
    ):
        done = pneumo(*command)
        assert (done.code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
        assert (
            "needs the trainer fake of pneumo-fake 1.0, which PNEUMO_DISABLE_PLUGINS disables" in done.stderr
        )
    settings = copy / "run.toml"
    settings.write_text(settings.read_text().replace("pneumo-fake:tiny-net", "pneumo-other:tiny-net"))
    report = json.loads((copy / "report.json").read_text())
    report["model"] |= {"distribution": "pneumo-other", "version": "2.1"}
    (copy / "report.json").write_text(json.dumps(report))
    monkeypatch.delenv("PNEUMO_DISABLE_PLUGINS")
    done = pneumo("predict", copy, films)
    assert (done.code, len(done.stderr.splitlines())) == (2, 1)
    assert "the model tiny-net of pneumo-other 2.1, which is not installed here" in done.stderr
    assert "pip install 'pneumo-other==2.1'" in done.stderr


def test_without_onnxruntime_a_bundle_uses_its_network_and_the_rest_says_what_to_install(
    run: Path, bundle: Path, graph: Path, films: Path, pneumo: Pneumo, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = predicted(pneumo, run, films)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    found = predicted(pneumo, bundle, films)
    assert numbers(found, "logit").tolist() == numbers(own, "logit").tolist()
    for command in (
        ("predict", graph, films),
        ("export", run, "--out", "new"),
        ("export", run, "--format", "onnx"),
    ):
        done = pneumo(*command)
        assert (done.code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
        assert "pip install onnx onnxscript onnxruntime" in done.stderr
    assert not Path("new").exists()


def test_a_graph_that_answers_otherwise_than_the_run_is_not_kept(
    run: Path, fakes: Path, pneumo: Pneumo, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pneumo_export import graph

    right = graph.positive_logits
    monkeypatch.setattr(graph, "positive_logits", lambda outputs: right(outputs) + 2e-4)
    for form in ("torch", "onnx"):
        done = pneumo("export", run, "--format", form, "--out", "wrong")
        assert (done.code, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
        assert "gives other logits than the run" in done.stderr
        assert list(fakes.iterdir()) == []


def test_what_exists_is_not_replaced_unless_asked_and_never_if_it_is_something_else(
    run: Path, bundle: Path, pneumo: Pneumo, tmp_path: Path
) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    (copy / "README.md").write_text("old")
    (copy / ".lock").touch()  # by whoever has judged with it
    file = tmp_path / "model.pt2"
    file.write_text("old")
    foreign = tmp_path / "photos"
    foreign.mkdir()
    for arguments, words in (
        ((copy,), "exists"),
        ((file, "--format", "torch"), "exists"),
        ((foreign, "--overwrite"), "is no bundle"),
        ((foreign, "--format", "torch", "--overwrite"), "is a folder"),
        ((file / "below",), "cannot be written"),
    ):
        done = pneumo("export", run, "--out", *arguments)
        assert (done.code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
        assert words in done.stderr
    assert file.read_text() == "old"
    assert pneumo("export", run, "--out", file, "--format", "torch", "--overwrite").code == 0
    assert pneumo("export", run, "--out", copy, "--overwrite").code == 0
    assert (copy / "README.md").read_text() != "old"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "work") == [
        "bundle",
        "model.pt2",
        "photos",
    ]


@pytest.mark.parametrize("description", ["whole", "damaged"])
def test_what_somebody_laid_into_a_bundle_is_not_removed_with_it(
    run: Path, bundle: Path, pneumo: Pneumo, tmp_path: Path, description: str
) -> None:
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    (copy / "notes").mkdir()
    (copy / "notes" / "thesis.txt").write_text("mine")
    if description == "damaged":
        (copy / "model.json").write_text("{")
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    done = pneumo("export", run, "--out", copy, "--overwrite")
    assert (done.code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "holds notes/thesis.txt, which belongs to no bundle" in done.stderr
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before
    shutil.rmtree(copy / "notes")
    assert pneumo("export", run, "--out", copy, "--overwrite").code == 0


def test_a_file_that_comes_into_a_bundle_while_it_is_exported_anew_stays(
    run: Path, bundle: Path, pneumo: Pneumo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pneumo_export import export

    copy = shutil.copytree(bundle, tmp_path / "bundle")

    def card(*given: Any) -> str:
        (copy / "thesis.txt").write_text("mine")
        return "card"

    monkeypatch.setattr(export, "model_card", card)
    done = pneumo("export", run, "--out", copy, "--overwrite")
    assert done.code == 2
    assert "holds thesis.txt" in done.stderr
    assert (copy / "thesis.txt").read_text() == "mine"
    assert (copy / "README.md").read_bytes() == (bundle / "README.md").read_bytes()


def test_a_run_and_what_was_exported_from_it_are_one_model(
    run: Path, bundle: Path, graph: Path, films: Path, pneumo: Pneumo, tmp_path: Path
) -> None:
    copy = shutil.copytree(run, tmp_path / "other-name")
    for two in ((run, bundle), (run, graph), (graph, bundle), (run, copy)):
        done = pneumo("predict", two[0], "--with", two[1], films)
        assert (done.code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
        assert f"{two[0]} and {two[1]} are the same model" in done.stderr
    last = pneumo("predict", run, "--with", copy, films, "--checkpoint", "last")
    assert "are the same model" in last.stderr


def test_damage_is_one_line(bundle: Path, graph: Path, films: Path, pneumo: Pneumo, tmp_path: Path) -> None:
    import onnx

    def spoilt(name: str, change: Callable[[Path], object]) -> Path:
        copy = shutil.copytree(bundle, tmp_path / name)
        change(copy)
        return copy

    def described(change: Callable[[Any], object]) -> Callable[[Path], object]:
        def apply(copy: Path) -> None:
            plain = json.loads((copy / "model.json").read_text())
            change(plain)
            (copy / "model.json").write_text(json.dumps(plain))

        return apply

    def novelty(plain: Any) -> Any:
        return plain["rule"]["novelty"]

    whole = graph.read_bytes()
    (tmp_path / "torn.onnx").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.onnx").write_text("no graph")
    foreign = onnx.load(graph)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    cases = {
        spoilt("torn", lambda copy: (copy / "model.onnx").write_bytes(whole[:1000])): (1, "does not match"),
        spoilt("gone", lambda copy: (copy / "model.onnx").unlink()): (1, "it has no model.onnx"),
        spoilt("text", lambda copy: (copy / "model.json").write_text("{")): (1, "not JSON"),
        spoilt("newer", described(lambda plain: plain.update(format=3))): (2, "another version"),
        spoilt("tensor", described(lambda plain: novelty(plain)["mean"].update(base64="AAAA"))): (1, "damaged"),
        spoilt("size", described(lambda plain: plain["input"].update(size=10**9))): (1, "damaged"),
        spoilt("other", described(lambda plain: plain["input"].update(size=64))): (1, "does not take"),
        spoilt("rule", described(lambda plain: plain.pop("rule"))): (1, "damaged"),
        tmp_path / "torn.onnx": (1, "cannot be loaded"),
        tmp_path / "text.onnx": (1, "cannot be loaded"),
        tmp_path / "foreign.onnx": (2, "was not exported by pneumo"),
        tmp_path / "missing.onnx": (2, "there is no file"),
        bundle / "model.pt2": (2, "can run any code"),
    }  # fmt: skip
    for path, (code, words) in cases.items():
        done = pneumo("predict", path, films)
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
        (("predict", "ONNX", "films", "--cam", "maps"), "use the run, or a bundle"),
        (("predict", "ONNX", "films", "--precision", "bf16"), "computes in fp32"),
        (("predict", "ONNX", "films", "--checkpoint", "last"), "holds the checkpoint best alone"),
        (("predict", "RUN", "films", "--with", "RUN"), "is named twice"),
    ],
)
def test_misuse_is_one_line(
    run: Path, graph: Path, films: Path, pneumo: Pneumo, arguments: tuple[str, ...], words: str
) -> None:
    places = {"RUN": run, "ONNX": graph}
    done = pneumo(*(places.get(argument, argument) for argument in arguments))
    assert (done.code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
    assert words in done.stderr


def test_what_makes_images_is_not_exported(trained_run: Callable[..., Path], pneumo: Pneumo) -> None:
    done = pneumo("export", trained_run("duel", epochs=1), "--format", "torch")
    assert (done.code, done.stdout) == (2, "")
    assert "classifies no images" in done.stderr


def test_the_graph_does_what_the_run_does_before_and_after_its_network(
    trained_run: Callable[..., Path],
) -> None:
    from pneumo_cli.evaluation.calibration import Calibration
    from pneumo_cli.inference.predictors import RunPredictor
    from pneumo_cli.plugins.discovery import discover
    from pneumo_cli.runs.folder import RunFolder
    from pneumo_cli.trainers.loading import load_trained
    from pneumo_export.graph import Graph, probe_images

    unusual = {"flip_tta": True, "standardize": True, "precision": "fp32"}
    folder = RunFolder.open(trained_run("fake", epochs=1, dataset="tiny", **unusual))
    predictor = RunPredictor(load_trained(discover(), folder, "last"))
    images = probe_images(predictor.size)
    graph = Graph(predictor.trained.model, predictor.transform, predictor.mirrored, Calibration(2.0, -0.5))
    logits, probabilities = graph(torch.from_numpy(images[:, None] / np.float32(255)))
    assert predictor.mirrored
    assert np.abs(logits.numpy() - predictor.logits({predictor.size: images})).max() <= 1e-5
    assert torch.equal(probabilities, torch.sigmoid(logits / 2 - 0.5))


@pytest.mark.real_data
@pytest.mark.skipif(not RADIOGRAPHS.is_dir(), reason="the radiographs are not in ../shared/data")
def test_on_100_radiographs_the_onnx_file_gives_the_run_s_logits(
    run: Path, graph: Path, films: Path, pneumo: Pneumo
) -> None:
    found = sorted(RADIOGRAPHS.rglob("*.jpeg"))
    files = found[:: len(found) // 100][:100]
    own, other = predicted(pneumo, run, *files), predicted(pneumo, graph, *files)
    assert len(own["predictions"]) == 100
    assert np.ptp(numbers(own, "logit")) > 0.01
    assert np.abs(numbers(own, "logit") - numbers(other, "logit")).max() <= 1e-4


def test_the_check_covers_files_that_are_named(run: Path, films: Path, pneumo: Pneumo) -> None:
    done = pneumo("export", run, "--format", "torch", "--check-on", films, "--json")
    assert done.code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["checks"][0]["images"] == 16 + 17
    assert Path(found["path"]).name == f"fake-{run.name}.pt2"
    (films / "bad.png").write_bytes(io.BytesIO(b"no image").getvalue())
    done = pneumo("export", run, "--format", "torch", "--out", "new.pt2", "--check-on", films)
    assert (done.code, len(done.stderr.splitlines())) == (1, 1)
    assert "bad.png cannot be read" in done.stderr
    assert not Path("new.pt2").exists()


def test_a_description_keeps_how_images_lie_and_what_is_unlike_them(bundle: Path, run: Path) -> None:
    own = DecisionRule.from_state(Checkpoints(run / "checkpoints").load("best")["calibration"])
    kept = Description.from_plain(json.loads((bundle / DESCRIPTION).read_text()), DESCRIPTION).rule
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, (8, 32, 32), dtype=np.uint8)
    assert kept.presentations(levels) == own.presentations(levels)
    assert own.ood_detector is not None
    assert kept.ood_detector is not None
    assert kept.ood_detector.scores(levels).tolist() == own.ood_detector.scores(levels).tolist()


def test_a_group_of_runs_is_not_exported(run: Path, pneumo: Pneumo, tmp_path: Path) -> None:
    alone = (run / "run.toml").read_text()
    (tmp_path / "group.toml").write_text(alone.replace("\nseeds = 1\n", "\nseeds = 2\n"))
    done = pneumo("export", tmp_path, "--format", "torch")
    assert (done.code, len(done.stderr.splitlines())) == (2, 1)
    assert "is a group of runs" in done.stderr
