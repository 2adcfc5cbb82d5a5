"""Percentiles and intervals of what was measured."""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 5000
SEED = 20260314  # the interval of the same numbers is always the same


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank: a value that was measured, never one in between. NaN for no values."""
    if not values:
        return float("nan")
    return float(np.quantile(np.asarray(values), share, method="inverted_cdf"))


def interval_of_mean(values: Sequence[float]) -> tuple[float, float]:
    """95 % bootstrap interval of the mean (percentile method; Efron and Tibshirani 1993, chapter 13)."""
    if len(values) < 2:
        return (float("nan"), float("nan"))
    found = np.asarray(values)
    picks = np.random.default_rng(SEED).integers(0, len(found), (RESAMPLES, len(found)))
    low, high = np.quantile(found[picks].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


def interval_of_percentile(values: Sequence[float], share: float) -> tuple[float, float]:
    """95 % bootstrap interval of a percentile; of at most 5,000 of the values, evenly chosen."""
    if len(values) < 2:
        return (float("nan"), float("nan"))
    found = np.asarray(values)
    found = found[:: max(1, len(found) // 5000)]
    rng = np.random.default_rng(SEED)
    resampled = [
        np.quantile(rng.choice(found, len(found)), share, method="inverted_cdf") for _ in range(400)
    ]
    low, high = np.quantile(resampled, (0.025, 0.975))
    return float(low), float(high)


def geometric_mean(ratios: Sequence[float]) -> tuple[float, float, float]:
    """Mean of ratios and its 95 % interval, taken over their logarithms."""
    logs = [float(np.log(ratio)) for ratio in ratios]
    low, high = interval_of_mean(logs)
    return float(np.exp(np.mean(logs))), float(np.exp(low)), float(np.exp(high))


def slope(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Least-squares slope of y over x and its 95 % interval, by resampling the points."""
    xs, ys = np.asarray(x, float), np.asarray(y, float)

    def fit(pick: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> float:
        dx = xs[pick] - xs[pick].mean()
        square = float((dx**2).sum())
        return float((dx * ys[pick]).sum() / square) if square else float("nan")

    rng = np.random.default_rng(SEED)
    resampled = [fit(rng.integers(0, len(xs), len(xs))) for _ in range(2000)]
    low, high = np.nanquantile(resampled, (0.025, 0.975))
    return fit(np.arange(len(xs))), float(low), float(high)
