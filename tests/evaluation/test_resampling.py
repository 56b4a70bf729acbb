"""Sums, areas and curves of many resamples at once are those of each resample by itself."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from pneumo_cli.evaluation.confidence import draws as drawing
from pneumo_cli.evaluation.confidence import ranking as ranked
from pneumo_cli.evaluation.confidence.bootstrap import Sample
from pneumo_cli.evaluation.confidence.bounds import _quantile
from pneumo_cli.evaluation.confidence.draws import PatientSums, draws
from pneumo_cli.evaluation.confidence.intervals import metric_intervals
from pneumo_cli.evaluation.confidence.ranking import Ranking

X = np.linspace(0, 1, 101)


def split(images: int, decimals: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, labels and patients, in no order; with few decimals many logits are equal."""
    rng = np.random.default_rng(seed)
    patients = rng.permutation(np.arange(images) // 3)
    labels = (rng.random(images) < 0.2).astype(np.int64)
    return (rng.normal(size=images) + labels).round(decimals), labels, patients


def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of splits that are too large to be computed at once."""
    monkeypatch.setattr(ranked, "_CELLS", 1)
    monkeypatch.setattr(ranked, "_FEWEST", 7)
    monkeypatch.setattr(ranked, "_TERMS", 64)
    monkeypatch.setattr(ranked, "_CORNERS", 5)


@pytest.mark.parametrize("patients", [2, 3, 64, 300])
def test_draws_are_those_of_numpy_whatever_is_drawn_at_once(
    patients: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = np.random.default_rng(5).integers(patients, size=(50, patients))
    expected = np.stack([np.bincount(row, minlength=patients) for row in drawn], axis=1)
    assert np.array_equal(np.concatenate(list(draws(patients, 50, seed=5)), axis=1), expected)
    monkeypatch.setattr(drawing, "_CELLS", 1)
    monkeypatch.setattr(drawing, "_COUNTED", 1)
    parts = list(draws(patients, 50, seed=5))
    assert [part.shape[1] for part in parts] == [16, 16, 16, 2]
    assert np.array_equal(np.concatenate(parts, axis=1), expected)


@pytest.mark.parametrize("patients", [1, 63, 64, 65, 64 * 33 + 7])
@pytest.mark.parametrize("samples", [1, 300])
def test_sums_over_patients(patients: int, samples: int) -> None:
    rng = np.random.default_rng(patients)
    values, counts = rng.normal(size=(20, patients)), rng.poisson(1, (patients, samples))
    for each in (counts.astype(np.uint8), counts / 3):
        np.testing.assert_allclose(PatientSums(values).of(each), values @ each, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("decimals", [0, 1, 9])
@pytest.mark.parametrize("images", [30, 64, 1000])
def test_areas_are_those_of_weighted_images(
    images: int, decimals: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits, labels, patients = split(images, decimals)
    counts = next(draws(int(patients.max()) + 1, 30, seed=1))
    for parts in (False, True):
        if parts:
            small_parts(monkeypatch)
        for each in (counts, counts.astype(np.float64), counts * 0.25):
            area, precision = Ranking(logits, labels, patients).areas(each)
            for sample in range(30):
                weights = each[patients, sample].astype(float)
                if 0 < weights @ labels < weights.sum():
                    data = labels, logits
                    assert area[sample] == pytest.approx(
                        roc_auc_score(*data, sample_weight=weights), abs=1e-12
                    )
                    assert precision[sample] == pytest.approx(
                        average_precision_score(*data, sample_weight=weights), abs=1e-12
                    )


def test_a_resample_without_one_of_the_classes_has_no_area() -> None:
    logits, labels, patients = np.array([1.0, 0.5, 2.0, -1.0]), np.array([1, 0, 1, 0]), np.arange(4)
    counts = np.array([[2, 0, 2, 0], [0, 2, 0, 2], [0, 0, 0, 4], [1, 1, 1, 1]], np.uint8).T
    found, _ = Sample(logits, labels, patients).resampled(counts)
    for name in ("auc", "average_precision", "mcc"):
        assert np.isfinite(found[name]).tolist() == [False, False, False, True], name
    assert np.isfinite(found["recall"]).tolist() == [True, False, False, True]
    assert found["auc"][3] == 1.0
    for curve in (Ranking.sensitivity_at, Ranking.precision_at):
        assert curve(Ranking(logits, labels, patients), X, counts).shape == (1, len(X))


@pytest.mark.parametrize("decimals", [0, 1, 9])
@pytest.mark.parametrize("images", [30, 700])
def test_curves_are_those_of_each_resample(
    images: int, decimals: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits, labels, patients = split(images, decimals, seed=3)
    counts = next(draws(int(patients.max()) + 1, 30, seed=4))
    sensitivities, precisions = [], []
    for weights in counts.T:
        drawn = np.repeat(np.arange(images), weights[patients])
        falling = np.unique(-logits[drawn])  # distinct, from the highest logit on
        place = np.searchsorted(falling, -logits[drawn])
        tp, fp = (
            np.cumsum(np.bincount(place[labels[drawn] == one], minlength=falling.size)) for one in (1, 0)
        )
        if tp[-1] and fp[-1]:
            sensitivities.append(np.interp(X, np.append(0, fp / fp[-1]), np.append(0, tp / tp[-1])))
            first = [np.flatnonzero((tp > 0) & (tp / tp[-1] >= x - 1e-12))[0] for x in X]
            precisions.append((tp / (tp + fp))[first])
    for parts in (False, True):
        if parts:
            small_parts(monkeypatch)
        ranking = Ranking(logits, labels, patients)
        assert np.array_equal(ranking.precision_at(X, counts), precisions)
        np.testing.assert_allclose(ranking.sensitivity_at(X, counts), sensitivities, atol=1e-14)


def test_parts_of_a_large_split_change_no_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    data = split(900, 1, seed=6)
    whole = metric_intervals(*data, resamples=100)
    small_parts(monkeypatch)
    monkeypatch.setattr(drawing, "_CELLS", 1)
    parts = metric_intervals(*data, resamples=100)
    assert list(parts) == list(whole)
    for name, ends in parts.items():
        assert ends == pytest.approx(whole[name], abs=1e-12), name
    some = metric_intervals(*data, areas=False, resamples=100)
    assert some == {name: ends for name, ends in parts.items() if name not in ("auc", "average_precision")}


@pytest.mark.parametrize("size", [2, 3, 1000])
def test_the_quantile_is_that_of_numpy(size: int) -> None:
    values = np.random.default_rng(size).normal(size=size)
    for share in (0.0, 0.025, 0.5, 0.9612, 1.0):
        assert _quantile(values, share) == pytest.approx(np.quantile(values, share), rel=1e-14)
