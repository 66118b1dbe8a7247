"""The model of many GPUs, and the tables that docs/scaling.md holds."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

DOCS = Path(__file__).parents[2] / "docs" / "scaling.md"


@pytest.fixture(scope="session")
def model(benchmark):
    return benchmark("scaling_model")


@pytest.fixture(scope="session")
def inputs(model):
    return json.loads(model.INPUTS.read_text())


def test_the_docs_hold_the_tables_and_what_they_are_made_of(model, inputs):
    text, cluster = DOCS.read_text(), model.Cluster()
    assert model.tables(cluster, inputs) in text
    for value, unit in (
        (cluster.peak, "TFLOP/s"), (cluster.nvlink, "GB/s"), (cluster.nic, "GB/s a GPU"),
        (cluster.latency, "µs"), (cluster.cores, ""),
    ):  # fmt: skip
        assert f"| {value:g} {unit}".rstrip() + " |" in text
    for cost in inputs["models"].values():
        assert f"{cost['macs'] / 1e9:.2f} G" in text
    for speed in inputs["images_per_second"].values():
        assert f"{speed:g}" in text
    assert f"{inputs['store_bytes']:,}" in text


def ring_all_reduce(parts):
    """Sum lists of chunks as a ring does; return the sums and the chunks that each one sent."""
    count = len(parts)
    sent = [0] * count
    for step in range(2 * (count - 1)):
        # First each chunk is summed on its way around, then the sums are handed on.
        is_sum = step < count - 1
        moving = [((rank - step) % count, rank) for rank in range(count)]
        values = [parts[rank][chunk] for chunk, rank in moving]
        for (chunk, rank), value in zip(moving, values, strict=True):
            sent[rank] += 1
            target = parts[(rank + 1) % count]
            target[chunk] = target[chunk] + value if is_sum else value
    return parts, sent


@pytest.mark.parametrize("gpus", [2, 3, 8])
def test_a_ring_sends_what_the_formula_says(model, gpus):
    parts, sent = ring_all_reduce([[rank + 1] * gpus for rank in range(gpus)])
    assert parts == [[gpus * (gpus + 1) // 2] * gpus] * gpus
    # Of `gpus` bytes each chunk is one.
    assert sent == pytest.approx([model.ring_seconds(gpus, gpus, 1.0, 0.0)] * gpus)
    assert model.ring_seconds(gpus, 0, 1.0, 1.0) == 2 * (gpus - 1)


@given(
    index=st.integers(0, 4), gpus=st.sampled_from([8, 16, 128, 512]), batch=st.integers(1, 512),
    cores=st.integers(1, 64),
)  # fmt: skip
def test_a_step_is_no_shorter_than_its_parts(model, inputs, index, gpus, batch, cores):
    training, cluster = model.TRAININGS[index], replace(model.Cluster(), cores=cores)
    step = model.step_of(training, gpus, batch, cluster, inputs)
    alone = model.step_of(replace(training, teacher=""), gpus, batch, cluster, inputs)
    assert 0 < step.exposed <= step.all_reduce
    assert step.seconds >= max(step.compute, step.exposed, step.reading)
    assert alone.compute <= step.compute
    more = model.step_of(training, gpus, batch, replace(cluster, cores=2 * cores), inputs)
    assert more.reading == pytest.approx(step.reading / 2)
    assert (step.bound == "reading") == (step.reading > step.compute + step.exposed)


def test_hours_are_those_of_the_recipe(model):
    training = model.TRAININGS[0]
    step = model.Step(compute=0.5, all_reduce=0.0, exposed=0.0, reading=0.1)
    # 300 epochs of 1,281,167 images, 1,024 a step, half a second each.
    assert model.hours(training, 8, 128, step) == pytest.approx(300 * 1281167 / 1024 / 7200)


@pytest.mark.slow
def test_the_costs_are_those_that_our_counter_finds_now(benchmark, inputs):
    assert benchmark("scaling_inputs").costs() == inputs["models"]
