"""Random numbers that depend on seed, epoch and sample alone."""

import numpy as np

from pneumo_cli.data.sample_rng import shuffled, uniforms


def test_uniforms_are_uniform_and_independent() -> None:
    draws = uniforms(7, 0, np.arange(20_000), 4).astype(np.float64)
    assert draws.min() >= 0
    assert draws.max() < 1
    expected = len(draws) / 20
    for column in draws.T:
        counts = np.histogram(column, bins=20, range=(0, 1))[0]
        assert ((counts - expected) ** 2 / expected).sum() < 45  # chi square, 19 degrees, p = 0.0007
    others = np.column_stack(
        [draws, uniforms(8, 0, np.arange(20_000), 1), uniforms(7, 1, np.arange(20_000), 1)]
    )
    correlations = np.corrcoef(others.T)[np.triu_indices(6, 1)]
    assert np.abs(correlations).max() < 0.03
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 0.03


def test_uniforms_and_orders_never_change() -> None:
    """Runs are resumed and compared across versions and machines: these numbers must not change."""
    draws = uniforms(42, 3, [0, 5215], 2)
    assert draws.dtype == np.float32
    assert draws.tolist() == uniforms(42, 3, [5215, 0], 5)[::-1, :2].tolist()
    assert [round(float(value), 6) for value in draws.ravel()] == UNIFORMS
    assert shuffled(42, 3, np.arange(8)).tolist() == ORDER


UNIFORMS = [0.673606, 0.749052, 0.583705, 0.553904]
ORDER = [5, 7, 2, 0, 6, 3, 1, 4]


def test_seeds_may_have_any_sign_and_size() -> None:
    draws = [uniforms(seed, 0, [1], 1).item() for seed in (-1, 0, 1, 2**63, 2**64 - 2)]
    assert len(set(draws)) == len(draws)
