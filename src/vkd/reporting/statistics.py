"""Mean, deviation and paired intervals over seeds."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Interval(NamedTuple):
    """A mean difference with the ends of its two-sided 95 % interval."""

    mean: float
    low: float
    high: float


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and sample deviation (0 for a single value)."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def mean_text(values: Sequence[float]) -> str:
    """Return mean and deviation as a table shows them; of one value the mean alone, of none
    nothing."""
    if not values:
        return ""
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.2f} ± {deviation:.2f}" if len(values) > 1 else f"{mean:.2f}"


def paired_interval(first: list[float], second: list[float]) -> Interval:
    """Return the mean of ``first - second`` with Student's 95 % interval over paired seeds.

    Raises:
        ValueError: for fewer than 2 pairs or lists of different lengths.
    """
    if len(first) != len(second) or len(first) < 2:
        raise ValueError(f"Paired values needed, found {len(first)} and {len(second)}.")
    differences = [a - b for a, b in zip(first, second, strict=True)]
    mean, deviation = mean_and_deviation(differences)
    half = student_t_95(len(differences) - 1) * deviation / math.sqrt(len(differences))
    return Interval(mean, mean - half, mean + half)


def student_t_95(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t with ``freedom`` degrees of freedom."""
    from scipy.stats import t

    return float(t.ppf(0.975, freedom))
