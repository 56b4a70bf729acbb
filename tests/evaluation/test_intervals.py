"""Intervals cover a known truth, allow for several images per patient, and have a width at the edges."""

from __future__ import annotations

import tracemalloc
from statistics import NormalDist

import numpy as np
import pytest

from pneumo_cli.evaluation.binary import (
    binary_metrics,
    precision_recall_points,
    roc_points,
)
from pneumo_cli.evaluation.confidence import draws as drawing
from pneumo_cli.evaluation.confidence.bootstrap import Sample
from pneumo_cli.evaluation.confidence.bounds import accelerated_ends, t_quantile
from pneumo_cli.evaluation.confidence.delong import delong_interval, delong_test
from pneumo_cli.evaluation.confidence.draws import draws, patient_codes
from pneumo_cli.evaluation.confidence.intervals import (
    difference_intervals,
    metric_intervals,
    precision_recall_band,
    roc_band,
    share_interval,
)


def split(
    size: int, generator: np.random.Generator, *, auc: float = 0.9, images: int = 1, factor: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits (calibrated if the factor is 1), labels, and patients with this many correlated images each."""
    patients = np.arange(size) // images
    labels = (generator.random(size) < 0.5)[patients].astype(int)
    own, common = generator.normal(size=size), generator.normal(size=size)[patients]
    noise = own if images == 1 else np.sqrt(0.3) * own + np.sqrt(0.7) * common
    apart = np.sqrt(2) * NormalDist().inv_cdf(auc)
    return factor * (apart * (labels * apart + noise) - apart**2 / 2), labels, patients


def test_the_metrics_of_a_resample_are_those_of_its_images() -> None:
    generator = np.random.default_rng(1)
    for decimals in (0, 9):  # with ties and without
        logits, labels, patients = split(120, generator, images=3)
        logits = logits.round(decimals)
        sample = Sample(logits, labels, patients, logit_threshold=0.3)
        for times in draws(40, 10, seed=2):
            found, _ = sample.resampled(times)
            for row, weights in enumerate(times.T):
                drawn = np.repeat(np.arange(120), weights[patients].astype(int))
                expected = binary_metrics(logits[drawn], labels[drawn], logit_threshold=0.3)
                assert {name: values[row] for name, values in found.items()} == pytest.approx(
                    expected, abs=1e-9
                )


def test_influences_are_the_derivatives_by_the_weight_of_a_patient() -> None:
    generator = np.random.default_rng(20)
    for decimals in (0, 9):  # with ties and without
        logits, labels, patients = split(120, generator, images=3)
        sample = Sample(logits.round(decimals), labels, patients)
        little = 1e-5
        more, less = (sample.resampled(1 + sign * little * np.eye(sample.patients))[0] for sign in (1, -1))
        found = sample.influences()
        assert set(found) == {"auc", "average_precision", "brier"}
        for name, values in found.items():
            np.testing.assert_allclose(values, (more[name] - less[name]) / (2 * little), atol=1e-8)
            assert values.sum() == pytest.approx(0, abs=1e-12)
    assert set(sample.influences(areas=False)) == {"brier"}
    assert set(Sample(logits, np.ones_like(labels), patients).influences()) == {"brier"}


def test_bin_residuals_add_up_to_the_calibration_error() -> None:
    sample = Sample(*split(120, np.random.default_rng(21), images=3, factor=2))
    metrics, residuals = sample.resampled(next(draws(40, 10, seed=0)))
    assert np.abs(residuals).sum(axis=1) == pytest.approx(metrics["ece"])


def test_each_resample_has_as_many_patients_and_each_patient_is_equally_frequent() -> None:
    times = np.concatenate(list(draws(50, 2000, seed=0)), axis=1)
    assert (times.sum(axis=0) == 50).all()
    assert np.abs(times.mean(axis=1) - 1).max() < 0.1
    assert times.var() == pytest.approx(1, abs=0.05)  # 1 - 1/P


@pytest.mark.parametrize(("images", "auc"), [(1, 0.95), (4, 0.85)])
def test_intervals_have_about_the_nominal_coverage(images: int, auc: float) -> None:
    generator = np.random.default_rng(images)
    logits, labels, _ = split(1_000_000, generator, auc=auc, factor=1.5)
    truth = binary_metrics(logits, labels)
    hits: dict[str, list[bool]] = {name: [] for name in truth}
    for repetition in range(200):
        found = metric_intervals(
            *split(240, generator, auc=auc, images=images, factor=1.5), resamples=150, seed=repetition
        )
        for name, (low, high) in found.items():
            hits[name].append(low <= truth[name] <= high)
    coverage = {name: np.mean(values) for name, values in hits.items()}
    # Three standard deviations below 95 % in 200 repetitions; 75 % if patients with 4 images each are ignored.
    assert min(coverage.values()) > 0.905, coverage
    assert np.mean(list(coverage.values())) < 0.98, coverage


def test_several_images_of_one_patient_widen_the_intervals() -> None:
    logits, labels, patients = split(400, np.random.default_rng(3), images=4)
    aware = metric_intervals(logits, labels, patients)
    naive = metric_intervals(logits, labels, np.arange(400))
    for name in ("accuracy", "recall", "specificity", "auc", "average_precision", "brier", "mcc"):
        assert aware[name].high - aware[name].low > 1.3 * (naive[name].high - naive[name].low), name


def test_with_one_image_per_patient_the_interval_of_the_auc_is_delongs() -> None:
    logits, labels, patients = split(600, np.random.default_rng(4))
    low, high = metric_intervals(logits, labels, patients)["auc"]
    expected = delong_interval(logits, labels)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.003)


def test_intervals_contain_their_value_and_stay_within_bounds() -> None:
    for seed in range(20):
        logits, labels, patients = split(40, np.random.default_rng(seed), images=2, auc=0.97)
        metrics = binary_metrics(logits, labels, logit_threshold=0.5)
        for name, (low, high) in metric_intervals(
            logits, labels, patients, logit_threshold=0.5, resamples=100
        ).items():
            assert (-1 if name == "mcc" else 0) <= low <= high <= 1
            assert name == "ece" or low <= metrics[name] <= high


def test_a_perfect_result_on_few_patients_is_uncertain() -> None:
    labels = np.repeat([0, 1], [30, 10])
    found = metric_intervals(labels * 20.0 - 10, labels, np.arange(40))
    for name in ("accuracy", "recall", "specificity", "precision", "f1", "mcc", "auc", "average_precision"):
        assert found[name].high == 1.0
        assert found[name].low < 0.95, name
    assert found["recall"].low < found["specificity"].low < found["accuracy"].low  # 10, 30 and 40 patients
    assert found["brier"].low == pytest.approx(0, abs=1e-6)
    assert found["brier"].high > 0.05
    assert found["ece"].high > 0.05
    # Ten images of each patient do not narrow them.
    repeated = metric_intervals(
        np.tile(labels * 20.0 - 10, 10), np.tile(labels, 10), np.tile(np.arange(40), 10)
    )
    assert repeated["accuracy"] == pytest.approx(found["accuracy"])


def test_a_perfect_sensitivity_on_few_patients_makes_the_balanced_accuracy_uncertain() -> None:
    labels = np.repeat([0, 1], [200, 5])
    logits = np.where(np.arange(205) % 20 == 0, 1.0, labels - 0.5)  # 10 false positives, no false negative
    found = metric_intervals(logits, labels, np.arange(205))
    assert found["recall"].low < 0.7
    assert found["balanced_accuracy"].low < 0.85 < found["specificity"].low


def test_undefined_metrics_have_no_interval() -> None:
    assert metric_intervals([0.0, 1.0, 2.0], [0, 1, 1], ["a", "a", "a"]) == {}
    assert share_interval([1, 0], ["a", "a"]) is None
    assert difference_intervals([0.0, 1.0], [1.0, 0.0], [0, 1], ["a", "a"]) == {}
    one_class = metric_intervals([-1.0, 1.0, 2.0], [1, 1, 1], ["a", "b", "c"])
    assert set(one_class) == {"accuracy", "precision", "recall", "f1", "brier", "ece"}
    never = metric_intervals([-1.0, -2.0, -3.0, -3.0], [1, 1, 0, 0], list("abcd"))
    assert "precision" not in never
    assert never["recall"].low == 0
    assert never["recall"].high > 0.5


def test_a_class_of_a_single_patient_has_a_very_wide_interval() -> None:
    logits, labels, patients = split(100, np.random.default_rng(5))
    single = np.where(labels == 1, -1, patients)
    low, high = metric_intervals(logits, labels, single)["recall"]
    assert low < 0.05
    assert high > 0.95


def test_the_interval_of_the_calibration_error_of_a_calibrated_model_starts_at_zero() -> None:
    generator = np.random.default_rng(7)
    from_zero = []
    for _ in range(20):
        logits, labels, patients = split(300, generator)
        assert binary_metrics(logits, labels)["ece"] > 0.02  # noise
        from_zero.append(metric_intervals(logits, labels, patients, resamples=200)["ece"].low == 0.0)
        assert metric_intervals(4 * logits, labels, patients, resamples=200)["ece"].low > 0.0
    assert sum(from_zero) >= 17


def calibration_hits(truth: float, repetitions: int, seed: int, shift: float = 0.0, **design) -> float:
    """The coverage of the interval of the calibration error, 0 to 1."""
    generator = np.random.default_rng(seed)
    hits = []
    for repetition in range(repetitions):
        logits, labels, patients = split(generator=generator, **design)
        low, high = metric_intervals(logits + shift, labels, patients, resamples=200, seed=repetition)["ece"]
        hits.append(low <= truth <= high)
    return float(np.mean(hits))


def test_the_interval_of_a_calibrated_model_with_few_errors_covers_zero() -> None:
    # Bins where an error is expected and none is seen look noiseless: without the correction it is 0.81.
    assert calibration_hits(0.0, 150, 22, size=300, auc=0.995) > 0.9


def test_a_shift_of_all_probabilities_is_covered_although_the_prevalence_varies() -> None:
    logits, labels, _ = split(1_000_000, np.random.default_rng(23), auc=0.9)
    truth = binary_metrics(logits + 0.8, labels)["ece"]
    # The end along the path alone covers 0.83.
    assert calibration_hits(truth, 150, 24, shift=0.8, size=1000, auc=0.9, images=10) > 0.9


def test_the_interval_of_an_auc_near_one_is_longer_downwards_and_more_so_for_skewed_influences() -> None:
    drawn = np.random.default_rng(25).normal(0.95, 0.01, 1000)
    even = np.tile([-1.0, 1.0], 50)
    skewed = np.append(np.full(99, 0.1), -9.9)
    for influence in (even, skewed):
        low, high = accelerated_ends(0.95, drawn, influence, 100)
        assert 0.95 - low > high - 0.95 > 0
    assert accelerated_ends(0.95, drawn, skewed, 100) < accelerated_ends(0.95, drawn, even, 100)


def test_results_depend_only_on_the_seed(monkeypatch) -> None:
    logits, labels, patients = split(90, np.random.default_rng(8), images=3)
    before = np.random.get_state()[1].copy()
    first = metric_intervals(logits, labels, patients, resamples=100)
    order = np.random.default_rng(9).permutation(90)
    names = np.array([f"patient {patient:03}" for patient in patients])
    other = metric_intervals(logits[order], labels[order], names[order], resamples=100)
    assert list(other) == list(first)
    np.testing.assert_allclose(list(other.values()), list(first.values()))
    assert metric_intervals(logits, labels, patients, resamples=100, seed=1) != first
    monkeypatch.setattr(drawing, "_CELLS", 500)
    chunked = metric_intervals(logits, labels, patients, resamples=100)
    assert chunked["auc"] == pytest.approx(first["auc"])
    assert (np.random.get_state()[1] == before).all()


def test_identical_predictions_do_not_differ() -> None:
    logits, labels, patients = split(100, np.random.default_rng(10))
    found = difference_intervals(logits, logits, labels, patients)
    assert set(found) == set(binary_metrics(logits, labels))
    assert set(found.values()) == {(0.0, 0.0, 0.0, 1.0)}


def test_a_difference_is_detected_with_the_sign_of_first_minus_second() -> None:
    generator = np.random.default_rng(11)
    logits, labels, patients = split(400, generator)
    worse = logits + generator.normal(0, 3, 400)
    found = difference_intervals(logits, worse, labels, patients)
    back = difference_intervals(worse, logits, labels, patients)
    for name in ("auc", "accuracy", "average_precision"):
        assert found[name].value > 0
        assert found[name].low > 0
        assert found[name].p < 0.01
        assert back[name].value == -found[name].value
        assert back[name].low == pytest.approx(-found[name].high)
    assert found["auc"].p == pytest.approx(delong_test(logits, worse, labels).p, abs=1e-4)


def test_pairing_narrows_the_interval_of_a_difference() -> None:
    generator = np.random.default_rng(12)
    logits, labels, patients = split(300, generator)
    similar = logits + generator.normal(0, 0.2, 300)
    difference = difference_intervals(logits, similar, labels, patients)["auc"]
    alone = metric_intervals(logits, labels, patients)["auc"]
    assert difference.high - difference.low < 0.5 * (alone.high - alone.low)


def test_p_is_uniform_for_equally_good_classifiers() -> None:
    generator = np.random.default_rng(13)
    found: dict[str, list[float]] = {"auc": [], "accuracy": [], "brier": []}
    for repetition in range(200):
        patients = np.arange(150) // 3
        labels = (generator.random(50) < 0.5)[patients].astype(int)
        noise = generator.normal(size=(2, 150)) + generator.normal(size=(2, 50))[:, patients]
        result = difference_intervals(
            *(noise + 3 * labels - 1.5), labels, patients, resamples=200, seed=repetition
        )
        for name, values in found.items():
            values.append(result[name].p)
            assert (result[name].p < 0.05) == (not result[name].low <= 0 <= result[name].high)
    for name, values in found.items():
        assert 0.01 <= np.mean(np.array(values) < 0.05) <= 0.1, name
        assert 0.4 < np.mean(np.array(values) < 0.5) < 0.6, name


def test_equal_predictions_on_few_patients_do_not_prove_equality() -> None:
    labels = np.repeat([0, 1], 20)
    found = difference_intervals(labels - 0.5, 3.0 * labels - 1, labels, np.arange(40))["accuracy"]
    assert (found.value, found.p) == (0.0, 1.0)
    assert found.low < -0.1
    assert found.high > 0.1


def test_each_classifier_has_its_own_threshold() -> None:
    logits, labels, patients = split(200, np.random.default_rng(14))
    found = difference_intervals(logits, logits, labels, patients, logit_thresholds=(0.0, 1.0))
    one, two = binary_metrics(logits, labels), binary_metrics(logits, labels, logit_threshold=1.0)
    assert found["recall"].value == pytest.approx(one["recall"] - two["recall"])
    assert found["auc"].value == 0


def test_the_interval_of_the_share_of_true_positives_is_that_of_the_sensitivity() -> None:
    logits, labels, patients = split(600, np.random.default_rng(15), images=2)
    positive = labels == 1
    share = share_interval(logits[positive] >= 0, patients[positive])
    assert share == pytest.approx(metric_intervals(logits, labels, patients)["recall"], abs=0.005)


def test_bands_contain_their_curves_and_are_wider_for_fewer_patients() -> None:
    logits, labels, patients = split(300, np.random.default_rng(16), images=2)
    roc = roc_points(logits, labels)
    band = roc_band(logits, labels, patients, points=51)
    curve = np.interp(band.x, roc.false_positive_rate, roc.true_positive_rate)
    assert (band.x == np.linspace(0, 1, 51)).all()
    assert (band.low <= curve + 1e-12).all()
    assert (curve <= band.high + 1e-12).all()
    assert (np.diff(band.low) >= 0).all()
    assert (np.diff(band.high) >= 0).all()
    assert (band.low[-1], band.high[-1]) == (1, 1)
    points = precision_recall_points(logits, labels)
    fall = precision_recall_band(logits, labels, patients, points=51)
    reached = [np.flatnonzero(points.recall >= x - 1e-12)[-1] for x in fall.x[1:]]
    assert (fall.low[1:] <= points.precision[reached] + 1e-12).all()
    assert (points.precision[reached] <= fall.high[1:] + 1e-12).all()
    naive = roc_band(logits, labels, np.arange(300), points=51)
    assert (band.high - band.low)[1:25].mean() > 1.1 * (naive.high - naive.low)[1:25].mean()


def test_the_band_of_a_perfect_curve_has_a_width() -> None:
    labels = np.repeat([0, 1], 20)
    for band in (roc_band, precision_recall_band):
        found = band(labels - 0.5, labels, np.arange(40))
        assert (found.high == 1).all()
        assert (found.low[:-1] < 0.9).all()


def test_bands_cover_the_true_curve_at_each_point() -> None:
    generator = np.random.default_rng(17)
    normal = NormalDist()
    apart = np.sqrt(2) * normal.inv_cdf(0.9)
    truth = np.array([normal.cdf(apart + normal.inv_cdf(x)) for x in (0.1, 0.2, 0.5)])
    hits = []
    for repetition in range(150):
        band = roc_band(*split(300, generator, images=2), points=11, resamples=150, seed=repetition)
        hits.append((band.low[[1, 2, 5]] <= truth) & (truth <= band.high[[1, 2, 5]]))
    assert np.mean(hits, axis=0).min() > 0.89  # three standard deviations below 95 % in 150 repetitions


def test_memory_does_not_grow_with_the_number_of_resamples() -> None:
    data = split(50_000, np.random.default_rng(19), images=2)
    tracemalloc.start()
    metric_intervals(*data, resamples=40)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * 2**20  # 40 resamples of 50,000 numbers are 16 MB alone, in each of several arrays


def test_the_t_quantile_agrees_with_tables() -> None:
    found = [t_quantile(freedom) for freedom in (4, 5, 10, 30, 1e6)]
    assert found == pytest.approx([2.776, 2.571, 2.228, 2.042, 1.960], rel=0.01)
    assert t_quantile(0) == t_quantile(1) > 12.706


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"logits": [0.0, float("nan"), 1.0]}, "1 of 3 logits are NaN"),
        ({"labels": [0, 1, 2]}, "a label is 2"),
        ({"patients": ["a", "b"]}, "one patient each"),
        ({"resamples": 1}, "at least 2 resamples"),
        ({"logit_threshold": float("inf")}, "finite logit"),
    ],
)
def test_invalid_input_is_an_error(options, message) -> None:
    given = {"logits": [0.0, 1.0, 2.0], "labels": [0, 1, 1], "patients": ["a", "b", "c"], **options}
    with pytest.raises(ValueError, match=message):
        metric_intervals(given.pop("logits"), given.pop("labels"), given.pop("patients"), **given)


def test_invalid_input_of_bands_and_share_intervals_is_an_error() -> None:
    for band in (roc_band, precision_recall_band):
        with pytest.raises(ValueError, match="needs both classes"):
            band([0.0, 1.0], [1, 1], ["a", "b"])
        with pytest.raises(ValueError, match="more than one patient"):
            band([0.0, 1.0], [0, 1], ["a", "a"])
        with pytest.raises(ValueError, match="at least 2 points"):
            band([0.0, 1.0], [0, 1], ["a", "b"], points=1)
    for hits in ([2.0, 0.0], [float("nan"), 1.0], []):
        with pytest.raises(ValueError, match="between 0 and 1"):
            share_interval(hits, ["a", "b"])
    with pytest.raises(ValueError, match="one patient each"):
        patient_codes(["a"], 2)
