"""Medians and ratios, beside NumPy's and those by hand."""

import numpy as np
import pytest

from vkd.speed.results import AGAINST, STUDENT, SpeedReport, Timing


def report(*timings):
    return SpeedReport([], list(timings), "cpu", 1, {}, {})


def test_latency_is_in_milliseconds_of_a_batch_and_speed_in_images():
    seconds = np.random.default_rng(0).gamma(2.0, 0.01, 37).tolist()
    timing = Timing(STUDENT, "pytorch", 8, seconds)
    assert timing.latency["median"] == pytest.approx(1000 * np.median(seconds))
    assert timing.latency["p10"] == pytest.approx(1000 * np.quantile(seconds, 0.1))
    assert timing.latency["p90"] == pytest.approx(1000 * np.quantile(seconds, 0.9))
    assert timing.images_per_second == pytest.approx(8 / np.median(seconds))


def test_ratios_are_of_the_same_round_runtime_and_batch_size():
    found = report(
        Timing(STUDENT, "pytorch", 1, [1.0, 2.0, 4.0]),
        Timing(AGAINST, "pytorch", 1, [3.0, 6.0, 12.0]),
        Timing(STUDENT, "onnxruntime", 1, [1.0, 1.0, 1.0]),
        Timing(AGAINST, "pytorch", 32, [9.0, 9.0, 9.0]),
    )
    (ratio,) = found.ratios
    assert (ratio.runtime, ratio.batch_size) == ("pytorch", 1)
    # The machine grew slower; the ratio did not.
    assert ratio.times == {"median": 3.0, "p10": 3.0, "p90": 3.0}
    assert found.as_dict()["ratios"][0]["times_as_fast"]["median"] == 3.0
