"""CRD against NCE written as loops, its memory, and its memory on two processes."""

from math import exp, log

import pytest
import torch
from torch.nn import functional as F

from support.forked import in_two_processes
from vkd.errors import UserError
from vkd.methods.crd import CRD
from vkd.methods.method import Sizes

SIZES = Sizes(student_dim=4, teacher_dim=9, samples=20)


def embedded(method, signals):
    with torch.no_grad():
        student = F.normalize(method.embed_student(signals.student_features), dim=1)
        teacher = F.normalize(method.embed_teacher(signals.teacher_features), dim=1)
    return student, teacher


def loop_loss(anchors, memory, indices, drawn, tau):
    """The paper's loss of anchors against the other side's memory, with Z of this very batch."""
    samples, negatives = len(memory), drawn.shape[1]
    rows = []
    for anchor, own, others in zip(anchors, indices.tolist(), drawn.tolist(), strict=True):
        rows.append([exp(float(anchor @ memory[i]) / tau) for i in (own, *others)])
    constant = sum(map(sum, rows)) / len(rows) / (negatives + 1) * samples
    noise, loss = negatives / samples, 0.0
    for own, *others in rows:
        loss -= log(own / constant / (own / constant + noise))
        loss -= sum(log(noise / (other / constant + noise)) for other in others)
    return loss / len(rows)


@pytest.mark.parametrize("tau", [0.07, 0.5])
def test_equals_loops(draw_signals, tau, monkeypatch):
    method, signals = CRD(SIZES, negatives=7, temperature=tau), draw_signals()
    drawn = method._draw(signals.indices)
    monkeypatch.setattr(method, "_draw", lambda indices: drawn)
    student, teacher = embedded(method, signals)
    memory = method.memory.clone()
    expected = loop_loss(student, memory[1], signals.indices, drawn, tau)
    expected += loop_loss(teacher, memory[0], signals.indices, drawn, tau)
    assert method(signals).item() == pytest.approx(expected, rel=1e-4)


def test_memory_moves_with_momentum_for_the_batch_only(draw_signals):
    method, signals = CRD(SIZES, momentum=0.25), draw_signals()
    before, sides = method.memory.clone(), embedded(method, signals)
    method(signals)
    for side, rows in enumerate(sides):
        for row, index in zip(rows, signals.indices, strict=True):
            moved = 0.25 * before[side, index] + 0.75 * row
            torch.testing.assert_close(method.memory[side, index], moved / moved.norm())
    untouched = torch.ones(20, dtype=torch.bool)
    untouched[signals.indices] = False
    assert torch.equal(method.memory[:, untouched], before[:, untouched])


def test_a_sample_that_is_there_twice_takes_its_last_row(draw_signals):
    method, signals = CRD(SIZES, momentum=0.0), draw_signals(rows=3)
    signals = signals._replace(indices=torch.tensor([4, 4, 5]))
    student, _ = embedded(method, signals)
    method(signals)
    torch.testing.assert_close(method.memory[0, 4:6], student[1:])


def test_constants_are_kept_after_the_first_batch(draw_signals):
    method = CRD(SIZES)
    method(draw_signals())
    first = method.log_normalizers.clone()
    assert first.isfinite().all()
    method(draw_signals(seed=1))
    assert torch.equal(method.log_normalizers, first)


def test_evaluation_changes_nothing(draw_signals):
    method = CRD(SIZES).eval()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    assert method(draw_signals()).isfinite()
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def test_draws_are_uniform_over_all_samples_but_the_own():
    method = CRD(Sizes(student_dim=1, teacher_dim=1, samples=4))
    assert method.negatives == 3
    drawn = torch.stack([method._draw(torch.tensor([0, 2, 3])) for _ in range(2000)], dim=1)
    for own, row in zip((0, 2, 3), drawn, strict=True):
        counts = torch.bincount(row.flatten(), minlength=4)
        assert counts[own] == 0
        assert ((counts - 2000).abs() < 200).sum() == 3


def test_state_and_generator_resume_bit_for_bit(draw_signals):
    first, second = CRD(SIZES), CRD(SIZES)
    first(draw_signals())
    second.load_state_dict(first.state_dict())
    state = torch.get_rng_state()
    expected = first(draw_signals(seed=1))
    torch.set_rng_state(state)
    assert torch.equal(second(draw_signals(seed=1)), expected)


def test_gradients_reach_the_student_and_the_embeddings_only(draw_signals):
    method, signals = CRD(SIZES), draw_signals()
    method(signals).backward()
    assert signals.student_features.grad.abs().sum() > 0
    assert all(parameter.grad.abs().sum() > 0 for parameter in method.parameters())
    assert signals.teacher_features.grad is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"negatives": 0}, "negatives must be .* at least 1, found 0"),
        ({"temperature": 0.0}, "temperature must be .* above 0, found 0.0"),
        ({"negatives": 1.5}, "negatives must be a whole number of at least 1, found 1.5"),
        ({"temperature": "low"}, "temperature must be a number above 0, found 'low'"),
        ({"momentum": -1}, "momentum must be .* at least 0, found -1"),
        ({"momentum": 1.0}, "momentum must be below 1, found 1.0"),
        ({"embedding_dim": 0}, "embedding_dim must be .* at least 1, found 0"),
    ],
)
def test_errors_name_the_argument(options, message):
    with pytest.raises(UserError, match=message):
        CRD(SIZES, **options)


def test_needs_the_number_of_samples():
    for samples in (0, 1):
        with pytest.raises(UserError, match=rf"samples, .* at least 2, found {samples}"):
            CRD(Sizes(student_dim=4, teacher_dim=9, samples=samples))
    assert CRD(Sizes(student_dim=4, teacher_dim=9, samples=2)).negatives == 1


def test_memories_start_as_rows_of_length_one_that_differ():
    method = CRD(SIZES, embedding_dim=16)
    assert method.memory.shape == (2, 20, 16)
    torch.testing.assert_close(method.memory.norm(dim=2), torch.ones(2, 20))
    assert (method.memory[0] - method.memory[1]).abs().max() > 0.1
    assert set(method.state_dict()) >= method.buffers_kept_equal() == {"memory", "log_normalizers"}
    assert not any(method.log_normalizers.isfinite())


def test_computes_in_float32_under_autocast(draw_signals):
    method, signals = CRD(SIZES).eval(), draw_signals()
    draws = method._draw(signals.indices)
    method._draw = lambda _: draws
    expected = method(signals)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(method(signals), expected)


def test_two_processes_are_one_that_sees_the_batches_of_both(draw_signals, tmp_path):
    signals = draw_signals()
    drawn = torch.randint(20, (6, 7))

    def step(rows, first):
        torch.manual_seed(0)
        method = CRD(SIZES, negatives=7)
        if not first:
            torch.nn.init.zeros_(method.memory)  # the first process's counts
            torch.nn.init.zeros_(method.log_normalizers)
        method._draw = lambda _: drawn[rows]
        # Rows that are no block of memory are gathered, too.
        own = [None if part is None else part.detach()[rows] for part in signals]
        own[:2] = (part.T.contiguous().T for part in own[:2])
        loss = method(type(signals)(*own)).detach()
        return [loss[None], method.memory, method.log_normalizers]

    loss, memory, normalizers = step(slice(None), first=True)
    found = in_two_processes(tmp_path, lambda rank: step(slice(3 * rank, 3 * rank + 3), rank == 0))
    for ours, theirs, whole in zip(*found, (loss, memory, normalizers), strict=True):
        if whole is loss:
            torch.testing.assert_close((ours + theirs) / 2, whole)
        else:
            assert torch.equal(ours, theirs)
            torch.testing.assert_close(ours, whole)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sent", "kept", "left"])
def test_memories_of_two_processes_are_equal(two_processes, kind):
    first, second = (
        torch.load(two_processes / f"crd-{kind}-{rank}.pt", weights_only=True) for rank in range(2)
    )
    for ours, theirs in zip(first["equal"], second["equal"], strict=True):
        assert torch.equal(ours, theirs)
        assert ours.isfinite().all()
    assert (first["sent"] == 0) == (kind == "left")
    for found in (first, second):
        assert found["touched"][:, :6].all(), "rows of the other process are missing"
        assert not found["touched"][:, 6:].any()
