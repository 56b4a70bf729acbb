"""``pneumo.load(path).predict(images)``: the numbers of ``pneumo predict``, for files and for images in memory."""

from __future__ import annotations

import gc
import inspect
import io
import json
import logging
import random
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pneumo_cli.errors import Interrupted, PneumoError, UsageError
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.testing import TinyDataset
from pneumo_cli.workflows import models
from pneumo_cli.workflows.display import Shown
from pneumo_cli.workflows.prediction_rows import predicted
from tests.inference.value_plugin import MODULE, PLUGIN

SHORT = ("--split", "patient", "--epochs", 1, "--no-report")


@pytest.fixture
def run(finished_run: Callable[..., Path]) -> Path:
    """A finished run of a classifier of two classes; not to be changed."""
    return finished_run("fake", *SHORT)


@pytest.fixture
def films(fakes: Path) -> list[Path]:
    """Five images as files, of which the first is large and the last is damaged."""
    folder, data = fakes / "films", TinyDataset("tiny")
    folder.mkdir()
    for number, record in enumerate(data.records[:4]):
        image = Image.fromarray(data.read(record))
        (image if number else image.resize((90, 70))).save(folder / f"{number}.png")
    (folder / "4.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return sorted(folder.iterdir())


def printed(pneumo: Callable[..., Any], *arguments: object) -> dict[str, Any]:
    """What ``pneumo predict --json`` prints."""
    return json.loads(pneumo("predict", *arguments, "--json").stdout)


def assert_same(predictions: Any, content: dict[str, Any]) -> None:
    """To the last digit."""
    assert len(predictions) == len(content["predictions"]) > 0
    for one, item in zip(predictions, content["predictions"], strict=True):
        assert str(one.file) == item["file"]
        assert one.error == item.get("error", "")
        if one.error:
            continue
        if "numbers" in item:
            assert (one.numbers, one.areas) == (item["numbers"], item["areas"])
            assert [dict(member) for member in one.member_numbers] == item.get("members", [])
            continue
        assert (one.out_of_distribution, one.ood_score) == (item["out_of_distribution"], item["ood_score"])
        if one.task == "binary":
            assert (one.logit, one.probability) == (item["logit"], item["probability"])
            assert one.predicted == (item["decision"],)
        else:
            assert dict(zip(one.classes, one.logits, strict=True)) == item["logits"]
            assert dict(zip(one.classes, one.probabilities, strict=True)) == item["probabilities"]
            assert [*one.predicted] == item["predicted"]


@pytest.mark.parametrize(
    ("task", "dataset"),
    [
        ("binary", "tiny"),
        pytest.param("multiclass", "fake-three", marks=pytest.mark.slow),
        pytest.param("multilabel", "fake-labels", marks=pytest.mark.slow),
    ],
)
def test_a_classifier_s_predictions_are_those_of_the_command(
    task: str, dataset: str, library: ModuleType, finished_run, pneumo, films: list[Path]
) -> None:
    run = finished_run("fake", *SHORT, *(("--dataset", dataset) if dataset != "tiny" else ()))
    content = printed(pneumo, run, "films", "--operating-point", "screening")
    model = library.load(run, operating_point="screening")
    assert (model.task, [*model.classes]) == (task, content["classes"])
    assert (model.size, model.channels, model.bits, model.operating_point.name) == (32, 1, 8, "screening")
    predictions = model.predict("films")
    assert_same(predictions, content)
    classes = len(model.classes)
    assert predictions.probabilities.shape == (5, classes)
    assert predictions.logits.shape == ((5,) if task == "binary" else (5, classes))
    assert np.isnan(predictions.logits[4]).all()
    rows = predictions.table
    assert rows.columns[:3] == ["file", "predicted", f"probability_{model.classes[0]}"]
    assert rows[4]["error"]
    assert rows[0][f"probability_{model.classes[1]}"] == predictions.probabilities[0, 1]
    assert_same(library.RunResult(run).predict(films[:4]), printed(pneumo, run, *films[:4]))
    assert_same([*model.iterate(Path("films", one.name) for one in films)], content)


def test_numbers_masks_and_ensembles_are_those_of_the_command(
    library: ModuleType, install, finished_run, pneumo, films: list[Path]
) -> None:
    install("pneumo-values", {"values": "values_plugin"}, {"values_plugin": PLUGIN, "values": MODULE})
    short = ("--epochs", 1, "--no-report")
    both, group = finished_run("both", *short), finished_run("number", "--folds", 2, *short)
    model = library.load(both)
    assert (model.task, model.numbers, model.masks, model.units["age"]) == (
        "values",
        ("age",),
        ("lungs",),
        "years",
    )
    predictions = model.predict("films")
    assert_same(predictions, printed(pneumo, both, "films"))
    assert predictions.numbers["age"].shape == (5,)
    assert predictions.masks["lungs"].shape == (5, 32, 32)
    assert predictions.table[0]["lungs_area"] == predictions[0].areas["lungs"]
    with pytest.raises(UsageError, match="predicts age, lungs, and no classes"):
        _ = predictions.probabilities
    folds = library.load(library.RunResult(group))
    assert_same(folds.predict("films"), printed(pneumo, group, "films"))


def test_the_same_image_has_the_same_logit_in_every_form(library: ModuleType, run: Path, fakes: Path) -> None:
    model = library.load(run)
    gray = np.random.default_rng(0).integers(0, 256, (70, 90), dtype=np.uint8)
    deep = np.add.outer(np.arange(70), np.arange(90)).astype(np.uint16) * np.uint16(25)
    for array, bits in ((gray, None), (deep, None), (deep, 12)):
        path = fakes / "film.png"
        Image.fromarray(array).save(path)
        forms: list[Any] = [path.read_bytes(), Image.open(path), array, array[None], torch.from_numpy(array)]
        forms += [[str(path)], torch.from_numpy(array)[None, None], (one for one in [array])]
        if array is gray:
            forms += [np.dstack([gray] * 3), gray / 255, torch.from_numpy(gray)[None] / 255]
        logits = [float(model.predict(form, bits=bits).logits[0]) for form in forms]
        assert set(logits) == {float(model.predict(path).logits[0])}
    dark = model.predict(np.minimum(deep, 900), bits=16)
    assert dark.logits[0] != model.predict(np.minimum(deep, 900)).logits[0]


def test_maps_are_arrays_and_leave_the_numbers(library: ModuleType, run: Path, films: list[Path]) -> None:
    model = library.load(run)
    plain, mapped = model.predict(films), model.predict(films, maps=True)
    assert np.array_equal(plain.logits, mapped.logits, equal_nan=True)
    first = mapped[0]
    assert (first.saliency.shape, first.saliency.dtype, first.overlay.shape) == (
        (32, 32),
        np.float32,
        (70, 90, 3),
    )
    assert first.saliency.max() <= 1
    assert plain[0].saliency is None
    memory = model.predict([np.asarray(Image.open(film)) for film in films[:4]], maps=True)
    assert np.array_equal(memory[0].overlay, first.overlay)


def test_a_notebook_shows_images_classes_reasons_and_one_disclaimer(
    library: ModuleType, run: Path, films: list[Path]
) -> None:
    odd = films[3].rename(films[3].with_name("<b>odd.png"))
    Image.fromarray(np.tile(np.array([0, 255] * 16, np.uint8), (32, 1))).save(odd)
    predictions = library.load(run).predict([*films[:3], odd, films[4]] * 5, maps=True)
    page = predictions._repr_html_()
    assert page.count("no medical device") == 1
    assert page.count("data:image/png;base64,") == 16, "the first twenty, of which four are damaged"
    assert "and 5 more" in page
    assert "<b>odd" not in page
    assert "&lt;b&gt;odd" in page
    assert "PNEUMONIA" in page
    assert "do not trust it: unlike the training images" in predictions[3]._repr_html_()
    assert predictions[:2]._repr_html_().count("<img") == 2


def test_a_loaded_model_needs_its_files_no_more(
    library: ModuleType, run: Path, films, tmp_path: Path
) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    model = library.load(copy)
    before = model.predict(films[0]).logits
    shutil.rmtree(copy)
    assert model.predict(films[0], maps=True).logits == before
    assert str(copy) in repr(model)


def test_a_generator_is_consumed_as_predictions_are_taken(library: ModuleType, run: Path) -> None:
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        buffer = np.zeros((32, 32), np.uint8)
        while True:
            taken += 1
            buffer[:] = taken % 256  # the same memory again
            yield buffer

    stream = library.load(run).iterate(endless())
    first = [next(stream) for _ in range(3)]
    stream.close()
    assert taken < 200
    assert len({one.logit for one in first}) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"checkpoint": "first"}, "is none of best, last"),
        ({"prevalence": 1}, "prevalence is 1: it is a share above 0"),
        ({"prevalence": "rare"}, "prevalence is 'rare'"),
        ({"operating_point": "screeening"}, "did you mean screening"),
        ({"device": "abacus"}, "device"),
        ({"threads": -1}, "threads"),
    ],
)
def test_a_request_for_a_model_that_cannot_be_met_is_one_line(library, run, options, words: str) -> None:
    with pytest.raises(UsageError, match=words) as raised:
        library.load(run, **options)
    assert "\n" not in str(raised.value)


def test_what_is_no_model_or_no_image_is_refused_before_anything_is_predicted(
    library: ModuleType, run: Path, fakes: Path
) -> None:
    for place in ("nowhere", fakes):
        with pytest.raises(UsageError, match="run folder"):
            library.load(place)
    with pytest.raises(UsageError, match=r"a path is a text or a pathlib\.Path, not an int"):
        library.load(3)
    with pytest.raises(UsageError, match="is named twice"):
        library.load(run, run)
    model = library.load(run)
    for images, words in (([np.zeros((9, 9)), 3], r"images\[1\] is an int"), ([], "no images")):
        with pytest.raises(UsageError, match=words):
            model.predict(images)
    with pytest.raises(UsageError, match="bits is 17"):
        model.predict(np.zeros((9, 9)), bits=17)

    def failing() -> Iterator[Any]:
        yield np.zeros((9, 9))
        raise OSError("the scanner is off")

    with pytest.raises(PneumoError, match="the scanner is off"):
        model.predict(failing())

    def stopped() -> Iterator[Any]:
        yield from [np.zeros((9, 9))] * 100
        raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="interrupted after"):
        model.predict(stopped())


def test_the_program_s_own_state_is_as_it_was(library: ModuleType, run: Path, films: list[Path]) -> None:
    def state() -> tuple[Any, ...]:
        generators = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        return *generators, torch.get_num_threads(), torch.is_grad_enabled(), logging.getLogger().handlers[:]

    before, threads = state(), torch.get_num_threads()
    model = library.load(run, threads=threads + 1)
    model.predict(films, maps=True)
    assert state() == before


def test_models_predict_side_by_side_in_threads(library: ModuleType, run: Path, finished_run, films) -> None:
    models = [library.load(run), library.load(finished_run("fake", *SHORT, "--seed", 7))]
    alone = [model.predict(films[:4]).logits for model in models]
    found: list[list[Any]] = [[], []]

    def predict(number: int) -> None:
        for _ in range(5):
            found[number].append(models[number].predict(films[:4], maps=True).logits)

    threads = [threading.Thread(target=predict, args=(number,)) for number in (0, 1, 0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for expected, own in zip(alone, found, strict=True):
        assert len(own) == 10
        assert all(np.array_equal(one, expected) for one in own)


def test_progress_is_shown_of_many_images_and_ends_with_an_error(
    library: ModuleType, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, stages, made = [], [], []

    class Recorded(Progress):
        def stage(self, title: str, total: int) -> Any:
            stages.append(total)
            return super().stage(title, total) if total < 40 else nullcontext(failing)

    def failing(count: int) -> None:
        raise OSError("the terminal is gone")

    def generator(*arguments: Any, **options: Any) -> Any:
        made.append(predicted(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(models, "predicted", generator)
    monkeypatch.setattr(models, "progress_for", lambda wanted: asked.append(wanted) or Shown(Recorded()))
    model, films = library.load(run, progress=False), np.zeros((40, 32, 32), np.uint8)
    assert asked == [False]
    for images in (films[:33], torch.from_numpy(films[:34])[:, None], [*films[:35]], films[:32]):
        model.predict(images)
    assert stages == [33, 34, 35], "not of 32"
    with pytest.raises(PneumoError, match="the terminal is gone") as caught:
        model.predict(films)
    assert inspect.getgeneratorstate(made[-1]) == inspect.GEN_CLOSED, "while the error is still held"
    del caught


def test_a_deleted_model_leaves_no_network(library: ModuleType, run: Path, films: list[Path]) -> None:
    model = library.load(run)
    predictions = model.predict(films, maps=True)
    network = weakref.ref(model._predictor.trained.model)
    gc.disable()
    try:
        del model
        assert network() is None, "without a collection of cycles: the memory of a device is free at once"
    finally:
        gc.enable()
    assert len(predictions) == 5


def test_plugins_get_to_know_predictions_of_functions_too(
    library: ModuleType, run: Path, films: list[Path], install, pneumo, fakes: Path
) -> None:
    install("pneumo-rows", {"rows": "rows_plugin"}, {"rows_plugin": _LISTENER})
    library.load(run).predict("films")
    assert json.loads((fakes / "rows.json").read_text()) == printed(pneumo, run, "films")["predictions"]
    with Image.open(films[0]) as image:
        library.load(run).predict([image, io.BytesIO(films[0].read_bytes()).getvalue()])
    rows = json.loads((fakes / "rows.json").read_text())
    assert [row["file"] for row in rows] == ["image 1", "image 2"]


_LISTENER = """
import json

from pneumo_cli.api import hookimpl

api_version = 1


@hookimpl
def images_predicted(predictions):
    with open("rows.json", "w") as file:
        json.dump(predictions, file)
"""
