"""The evaluation of generated images: good and bad ones in order, copies, mode collapse, names, too little data."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from pneumo_cli.evaluation.generative import fidelity
from pneumo_cli.evaluation.generative.baselines import noise, patient_halves, pca_gaussian
from pneumo_cli.evaluation.generative.collapse import failures
from pneumo_cli.evaluation.generative.distances import kid
from pneumo_cli.evaluation.generative.features import Extractor
from pneumo_cli.evaluation.generative.fidelity import measure_fidelity
from pneumo_cli.evaluation.result import RunSummary
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.reports.fidelity_tables import fidelity_summary
from pneumo_cli.runtime.devices import Device
from pneumo_cli.runtime.seeding import derive
from pneumo_cli.trainers.feature_extractors import find_extractor

PIXELS = find_extractor("pixels", Plugins(), Device(torch.device("cpu"), "fp32", "CPU"))


def pictures(n: int, seed: int) -> Tensor:
    """Smooth random pictures around a common one, as radiographs are: uint8 [n, 32, 32]."""
    common = torch.randn(1, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    own = torch.randn(n, 1, 6, 6, generator=torch.Generator().manual_seed(seed))
    smooth = F.interpolate(common + own, size=32, mode="bicubic")[:, 0]
    return (128 + 45 * smooth).round().clamp(0, 255).to(torch.uint8)


TRAINING = pictures(300, 10)
HELD_OUT = pictures(120, 11)
PATIENTS = [f"patient{number // 2}" for number in range(120)]
GOOD = pictures(150, 12)


GIVEN = {"training": TRAINING, "held_out": HELD_OUT, "patients": PATIENTS, "extractor": PIXELS, "seed": 1}


@pytest.fixture(scope="module", autouse=True)
def fewer_divisions() -> Iterator[None]:
    """Fewer divisions and subsets than in a report, which take as much longer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fidelity, "HALVINGS", 3)
        patch.setattr(fidelity, "SUBSETS", 6)
        yield


def evaluated(samples: Tensor, name: str = "generated", **changes: object) -> RunSummary:
    return fidelity_summary(measure_fidelity({name: samples}, **{**GIVEN, **changes}))


@pytest.fixture(scope="module")
def good(fewer_divisions: None) -> RunSummary:
    return evaluated(GOOD)


def column(summary: RunSummary, table: int, name: str) -> dict[str, float]:
    shown = summary.tables[table]
    position = shown.head.index(name)
    return {row[0]: float(re.split(r"[ %]", row[position].replace(",", ""))[0]) for row in shown.rows}


def test_tables_list_the_generated_images_first_and_then_the_baselines(good: RunSummary) -> None:
    titles = ["generated", "Real, other patients", "PCA Gaussian", "Pixel Gaussian", "Mean image", "Noise"]
    distances, memorization = good.tables
    assert distances.title == "Distance to real images of held-out patients"
    for table in good.tables:
        assert [row[0] for row in table.rows] == titles
        assert {len(row) for row in table.rows} == {len(table.head)}
    assert "In 1,024 features (pixels at 32 px)" in distances.note
    assert "60 images of each row against 60 real ones" in distances.note
    assert "subsets of 30 images" in distances.note
    assert "300 training images, of 150 (generated) images" in memorization.note


def test_good_images_are_as_near_as_real_ones_and_noise_and_the_mean_image_are_far(good: RunSummary) -> None:
    for name in ("KID × 1000", "Fréchet distance"):
        found = column(good, 0, name)
        assert found["Real, other patients"] < 0.5 * found["Mean image"]
        assert found["generated"] < 0.5 * found["Mean image"]
        assert found["generated"] < 0.5 * found["Pixel Gaussian"]
        assert found["generated"] < 0.1 * found["Noise"]
    diversity = column(good, 1, "Diversity")
    assert diversity["generated"] == pytest.approx(1, abs=0.1)
    assert diversity["Mean image"] == 0
    assert column(good, 1, "Coverage")["Noise"] == 0


def test_metrics_are_finite_and_name_the_extractor(good: RunSummary) -> None:
    metrics = good.metrics
    assert all(isinstance(value, float) and math.isfinite(value) for value in metrics.values())
    for which in ("", "_real", "_pca-gaussian", "_pixel-gaussian", "_mean-image", "_noise"):
        for metric in ("kid", "kid_spread", "frechet"):
            assert f"{metric}{which}_pixels" in metrics
        for metric in ("near_copies", "copies", "nearest_ratio", "diversity", "density", "coverage"):
            assert f"{metric}{which}" in metrics
    assert len(metrics) == 6 * 9
    assert 1000 * metrics["kid_noise_pixels"] == pytest.approx(
        column(good, 0, "KID × 1000")["Noise"], rel=0.01
    )
    assert not any("fid" in name.lower() for name in metrics)


def test_the_distance_of_real_images_is_the_mean_over_several_divisions_of_the_patients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The exposure differs between patients, so a single division into halves has a large error."""
    monkeypatch.setattr(fidelity, "HALVINGS", 8)
    exposure = np.random.default_rng(0).integers(-60, 60, 60).repeat(2)
    bright = (HELD_OUT.int() + torch.from_numpy(exposure)[:, None, None]).clamp(0, 255).to(torch.uint8)
    found = evaluated(GOOD[:60], held_out=bright).metrics["kid_real_pixels"]
    alone = []
    for division in range(8):
        one, other = (
            PIXELS(bright[torch.from_numpy(half)]) for half in patient_halves(PATIENTS, derive(1, division))
        )
        alone.append(kid(one, other, derive(1, division), fidelity.SUBSETS).mean)
    assert found == pytest.approx(np.mean(alone), abs=1e-6)
    assert abs(found) < max(map(abs, alone)) / 3


def test_verdict_and_notes_explain_the_results(good: RunSummary) -> None:
    assert re.match(
        r"By KID the generated images are (nearer|farther) .*; other real patients have \S+\.", good.verdict
    )
    copies, diversity = good.notes
    assert re.match(
        r"No copies of training images were found among 150 images; \d+ \(\S+ %\) are nearer", copies
    )
    assert "times as much as two real ones" in diversity
    assert "fewer images than features" in good.tables[0].note


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (5.0, "worse than noise: 5,000 against 4,000 "),
        (3.0, "farther from real ones than copies of the mean training image: 3,000 against 2,000 "),
        (1.5, "farther from real ones than a PCA Gaussian, which needs no network: 1,500 against 1,000 "),
        (0.5, "nearer to real ones than every baseline without a network: 500 "),
    ],
)
def test_the_verdict_names_the_worst_baseline_that_is_not_beaten(own: float, words: str) -> None:
    found = measure_fidelity({"generated": GOOD[:20]}, **GIVEN)
    means = {"generated": own, "noise": 4.0, "mean-image": 2.0, "pca-gaussian": 1.0}
    measured = {
        slug: replace(row, kid=row.kid._replace(mean=means.get(slug, 0.1)))
        for slug, row in found.measured.items()
    }
    assert fidelity_summary(replace(found, measured=measured)).verdict == (
        f"By KID the generated images are {words}(× 1000, lower is better); other real patients have 100."
    )


def test_the_warning_about_few_images_appears_only_where_they_are_few() -> None:
    class Four(torch.nn.Module):
        num_features = 4

        def forward(self, images: Tensor) -> Tensor:
            return F.adaptive_avg_pool2d(images.unsqueeze(1).float() / 64, 2).flatten(1)

    found = evaluated(GOOD, extractor=Extractor("quarters", "quarters", 4, Four()))
    assert len(found.notes) == 2
    assert "fewer images than" not in found.tables[0].note
    assert "kid_quarters" in found.metrics


def test_copies_of_training_images_are_detected_and_counted() -> None:
    samples = GOOD[:100].clone()
    samples[[3, 50]] = (TRAINING[[7, 8]].float() * 0.9 + 8).to(torch.uint8)
    found = evaluated(samples)
    assert found.metrics["copies"] == 0.02
    assert found.metrics["near_copies"] >= 0.02
    assert found.notes[0] == "2 of 100 images look like a copy of a training image."


def test_mode_collapse_shows_in_distance_and_diversity() -> None:
    one = GOOD[:1].repeat(80, 1, 1).float()
    collapsed = one + torch.randn(one.shape, generator=torch.Generator().manual_seed(1))
    collapsed = collapsed.clamp(0, 255).to(torch.uint8)
    found = evaluated(collapsed).metrics
    assert found["diversity"] < 0.15
    assert found["coverage"] < 0.5 * found["coverage_real"]
    assert found["kid_pixels"] > 3 * found["kid_mean-image_pixels"]


def test_results_depend_only_on_the_seed_and_not_on_the_callers_autocast(good: RunSummary) -> None:
    torch.manual_seed(99)
    before = torch.get_rng_state()
    with torch.autocast("cpu", torch.bfloat16):
        again = evaluated(GOOD)
    assert torch.equal(torch.get_rng_state(), before)
    assert again.metrics == good.metrics
    assert again.tables == good.tables
    assert evaluated(GOOD[:30], seed=2).metrics != evaluated(GOOD[:30]).metrics


def test_several_sets_are_in_one_table_and_compared_with_the_same_real_images(good: RunSummary) -> None:
    bad = noise(64, 32, seed=3)
    both = fidelity_summary(measure_fidelity({"My GAN": GOOD, "noisy": bad}, **GIVEN))
    assert [row[0] for row in both.tables[0].rows[:3]] == ["My GAN", "noisy", "Real, other patients"]
    assert both.metrics["kid_my-gan_pixels"] == good.metrics["kid_pixels"]
    assert both.metrics["kid_real_pixels"] == good.metrics["kid_real_pixels"]
    assert both.metrics["kid_noisy_pixels"] > 10 * both.metrics["kid_my-gan_pixels"]
    assert both.metrics["diversity_noisy"] != both.metrics["diversity_my-gan"]
    assert [figure.name for figure in both.figures] == [
        "closest-pairs-my-gan",
        "closest-pairs-noisy",
        "neighbour-distances",
    ]
    assert both.notes[0].startswith("My GAN: No copies of training images")
    assert "By KID the images of My GAN are " in both.verdict
    assert "By KID the images of noisy are " in both.verdict
    for figure in both.figures:
        figure.draw()


def test_all_sets_are_reduced_to_the_size_of_the_smallest() -> None:
    assert "20 images of each row against 20 real ones" in evaluated(GOOD[:20]).tables[0].note


def test_the_figures_show_the_closest_pairs_and_the_distances(good: RunSummary) -> None:
    pairs, distances = good.figures
    assert (pairs.name, pairs.group) == ("closest-pairs", "summary")
    shown = [
        np.asarray(image.get_array()) for axes in pairs.draw().axes for image in axes.findobj(lambda a: True)
        if hasattr(image, "get_array") and getattr(image.get_array(), "ndim", 0) == 2
    ]  # fmt: skip
    assert len(shown) == 16
    assert any(np.array_equal(image, one) for image in shown for one in GOOD.numpy())
    assert any(np.array_equal(image, one) for image in shown for one in TRAINING.numpy())
    (axes,) = distances.draw().axes
    words = " ".join(text.get_text() for text in axes.get_figure().findobj() if hasattr(text, "get_text"))
    assert "generated (n = 150)" in words
    assert "held-out (n = 120)" in words


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"held_out": HELD_OUT[:15], "patients": PATIENTS[:15]}, "15 held-out images"),
        ({"held_out": HELD_OUT[:0], "patients": []}, "0 held-out images"),
        ({"patients": ["one"] * 120}, "one patient"),
        ({"patients": ["one"] * 115 + ["two"] * 5}, "nearly all held-out images are of one patient"),
        ({"training": TRAINING[:1]}, "number of training images is 1"),
        ({"samples": GOOD[:7]}, "7 of generated"),
    ],
)
def test_with_too_few_images_there_is_only_a_note(changes: dict[str, object], message: str) -> None:
    found = evaluated(**{"samples": GOOD, **changes})
    (note,) = found.notes
    assert message in note
    assert (found.metrics, found.tables, found.figures) == ({}, (), ())


def test_sixteen_held_out_images_of_two_patients_are_enough() -> None:
    patients = ["a"] * 8 + ["b"] * 8
    found = evaluated(GOOD[:8], held_out=HELD_OUT[:16], patients=patients, training=TRAINING[:2])
    assert all(math.isfinite(value) for value in found.metrics.values())
    assert "8 images of each row against 8 real ones" in found.tables[0].note


def test_identical_real_images_give_finite_results() -> None:
    same = HELD_OUT[:1].repeat(120, 1, 1)
    found = evaluated(GOOD[:40], held_out=same, training=same)
    assert all(math.isfinite(value) for value in found.metrics.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": GOOD.float()}, "the generated images are torch.float32"),
        ({"samples": GOOD[:, :16, :16]}, r"\[150, 16, 16\], not uint8 \[n, 32, 32\]"),
        ({"held_out": HELD_OUT[:, :16]}, "the held-out images"),
        ({"patients": PATIENTS[:3]}, "120 held-out images and 3 patients"),
        ({"name": "noise"}, "names"),
        ({"name": "ÄÖ"}, "names"),
    ],
)
def test_images_that_do_not_fit_together_are_an_error(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluated(**{"samples": GOOD, **changes})


@pytest.mark.real_data
def test_two_planted_copies_of_real_radiographs_are_detected_and_no_smooth_samples() -> None:
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "chest_xray" / "train" / "PNEUMONIA"
    if not folder.is_dir():
        pytest.skip("the real radiographs are not at ../shared/data/chest_xray")
    patients, images = [], []
    for path in sorted(folder.glob("person*.jpeg"))[::8]:
        with Image.open(path) as file:
            file.draft("L", (64, 64))
            images.append(np.asarray(file.convert("L").resize((32, 32), Image.Resampling.BOX)))
        patients.append("_".join(path.name.split("_")[:2]))
    radiographs = torch.from_numpy(np.stack(images))
    known = set(patients[::3])
    training = radiographs[[patient in known for patient in patients]]
    held_out = radiographs[[patient not in known for patient in patients]]
    others = [patient for patient in patients if patient not in known]
    smooth = pca_gaussian(training, 100, seed=5, components=5)
    given = {"training": training, "held_out": held_out, "patients": others}
    clean = evaluated(smooth, **given)
    assert clean.metrics["copies"] == 0
    smooth[[3, 50]] = training[[7, 70]]
    planted = evaluated(smooth, **given)
    assert planted.metrics["copies"] == 0.02
    for metrics in (clean.metrics, planted.metrics):
        assert metrics["kid_real_pixels"] < 0.5 * metrics["kid_mean-image_pixels"]
        assert metrics["kid_mean-image_pixels"] < 0.3 * metrics["kid_noise_pixels"]


def test_collapsed_images_and_noise_are_called_so_and_images_of_other_patients_are_not() -> None:
    alike = GOOD[:1] + torch.randint(0, 3, GOOD.shape, generator=torch.Generator().manual_seed(3))
    sets = {"good": GOOD, "alike": alike.to(torch.uint8), "gray": noise(150, 32, 9)}
    failed = failures(found := measure_fidelity(sets, **GIVEN))
    collapsed, gray = failed["alike"], failed["gray"]
    said = [note for note in fidelity_summary(found).notes if "times as much" in note]
    assert [note.partition(":")[0] for note in said] == ["good"]  # the warnings say it of the others
    assert collapsed.startswith("The images of alike have collapsed: two of them differ 0.27 times")
    assert re.search(
        r"cover \d+ % of the real images' neighborhoods \(other real patients: \d\d+ %\)", collapsed
    )
    assert gray == "The images of gray are no nearer to real ones than noise is."
    assert failures(measure_fidelity({"one": GOOD[:5]}, **GIVEN)) == {}
