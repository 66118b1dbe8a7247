"""OrthogonalProjection against torch, float64 references and finite differences."""

import copy
import pickle
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call

from vkd import OrthogonalProjection, projection
from vkd.projection import orthogonality_error

SHAPES = [(4, 9), (9, 4), (5, 5), (1, 7), (7, 1)]


@pytest.fixture(params=["host", "accelerator"], autouse=True)
def place(request, monkeypatch):
    """Every test runs on the CPU's path, and on the one that looks at no values."""
    if request.param == "accelerator":
        chosen = projection._projected
        monkeypatch.setattr(
            projection,
            "_projected",
            lambda rows, tall, expands, _: chosen(rows, tall, expands, False),
        )
    return request.param


def reference_weight(parameter: torch.Tensor) -> torch.Tensor:
    """Q with positive diagonal of R by torch's Householder QR in float64."""
    tall = parameter.double() if parameter.shape[0] >= parameter.shape[1] else parameter.double().T
    q, r = torch.linalg.qr(tall.detach())
    q = q * torch.sign(r.diagonal())
    return q if parameter.shape[0] >= parameter.shape[1] else q.T


@pytest.mark.parametrize(("student", "teacher"), [(192, 3024), (64, 64), (96, 32)])
def test_starts_orthonormal_and_different_each_time(student, teacher):
    first, second = (OrthogonalProjection(student, teacher) for _ in range(2))
    assert orthogonality_error(first.weight) <= 1e-5
    assert first.weight.shape == (teacher, student)
    assert (first.weight - second.weight).abs().max() > 0.1


def test_initialisation_is_uniform_on_the_sphere():
    # An entry of a Haar-distributed matrix has mean 0 and variance 1 / teacher_dim.
    draws = torch.stack([OrthogonalProjection(3, 5).weight.detach() for _ in range(2000)])
    assert draws.mean(0).abs().max() < 0.05
    torch.testing.assert_close(draws.square().mean(0), torch.full((5, 3), 0.2), atol=0.03, rtol=0)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.floats(-6, 6),
    st.integers(0, 2**31),
)
def test_equals_householder_qr_at_any_scale(student, teacher, exponent, seed):
    generator = torch.Generator().manual_seed(seed)
    module = OrthogonalProjection(student, teacher)
    drawn = torch.randn(teacher, student, generator=generator) * 10**exponent
    module.parameter.data.copy_(drawn)
    features = torch.randn(4, student, generator=generator)
    assert orthogonality_error(module.weight) <= 1e-5
    expected = features.double() @ reference_weight(module.parameter).T
    condition = torch.linalg.cond(drawn.double()).item()
    tolerance = 1e-5 * max(1.0, condition)
    torch.testing.assert_close(module(features).double(), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize(("student", "teacher"), SHAPES)
@pytest.mark.parametrize("conditioning", ["good", "poor"])
def test_gradients_equal_finite_differences(student, teacher, conditioning):
    torch.manual_seed(0)
    module = OrthogonalProjection(student, teacher).double()
    parameter = module.parameter.detach().clone()
    if conditioning == "poor" and min(student, teacher) > 1:
        # Makes two columns (rows) nearly parallel, which takes the float64 Householder path.
        tall = parameter if teacher >= student else parameter.T
        tall[:, 1] = tall[:, 0] + 0.2 * tall[:, 1]
    features = torch.randn(3, student, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, p: functional_call(module, {"parameter": p}, x),
        (features, parameter.requires_grad_()),
    )


@pytest.mark.parametrize(("student", "teacher"), [(192, 3024), (64, 64), (96, 32)])
def test_nearly_rank_deficient_weights_stay_accurate_and_finite(student, teacher):
    torch.manual_seed(0)
    module = OrthogonalProjection(student, teacher)
    left, _, right = torch.linalg.svd(torch.randn(teacher, student), full_matrices=False)
    spectrum = torch.logspace(0, -6, min(student, teacher))
    module.parameter.data.copy_((left * spectrum) @ right)
    features = torch.randn(8, student, requires_grad=True)
    module(features).square().sum().backward()
    assert orthogonality_error(module.weight) <= 1e-5
    assert module.parameter.grad.isfinite().all()
    assert features.grad.isfinite().all()


def test_exactly_repeated_columns_give_finite_gradients():
    module = OrthogonalProjection(3, 6)
    module.parameter.data[:, 1] = module.parameter.data[:, 0]
    module(torch.randn(4, 3)).sum().backward()
    assert orthogonality_error(module.weight) <= 1e-5
    assert module.parameter.grad.isfinite().all()


def test_columns_of_zeros_give_an_orthonormal_weight():
    module = OrthogonalProjection(3, 6)
    module.parameter.data[:, 1] = 0
    module(torch.randn(4, 3)).sum().backward()
    assert orthogonality_error(module.weight) <= 1e-5
    assert module.parameter.grad.isfinite().all()


@pytest.mark.parametrize(("student", "teacher"), [(24, 96), (48, 24), (64, 64)])
@pytest.mark.parametrize("smallest", [-1, -4, -7])
def test_both_paths_compute_the_same_function(student, teacher, smallest):
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(teacher, student), full_matrices=False)
    spectrum = torch.logspace(0, smallest, min(student, teacher))
    drawn = (left * spectrum) @ right
    tall = drawn if teacher >= student else drawn.T
    rows = torch.randn(8, student)
    expands = teacher >= student
    found = [projection._projected(rows, tall, expands, on_host) for on_host in (True, False)]
    torch.testing.assert_close(*found, atol=3e-6 / 10**smallest, rtol=0)


@pytest.mark.parametrize(
    ("student", "teacher"),
    [(24, 96), (48, 24), pytest.param(192, 3024, marks=pytest.mark.slow)],
)
def test_ten_thousand_noisy_adamw_steps(student, teacher):
    torch.manual_seed(0)
    module = OrthogonalProjection(student, teacher)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-1, weight_decay=0.05, fused=True)
    size = module.parameter.numel()
    noise = torch.randn(3 * size)
    for start in torch.randint(2 * size, (10_000,)).tolist():
        # Noise drives the parameter as hard as any loss could; the map need not run for that.
        module.parameter.grad = noise[start : start + size].view_as(module.parameter)
        optimizer.step()
    assert orthogonality_error(module.weight) <= 1e-5


def test_training_finds_a_rotation_and_weight_decay_does_not_kill_it():
    torch.manual_seed(0)
    goal = torch.linalg.qr(torch.randn(32, 8))[0]
    module = OrthogonalProjection(8, 32)
    optimizer = torch.optim.AdamW(module.parameters(), lr=5e-3, weight_decay=0.05)
    for _ in range(600):
        features = torch.randn(64, 8)
        loss = (module(features) - features @ goal.T).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (module.weight - goal).norm() < 0.5
    assert orthogonality_error(module.weight) <= 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_computes_in_float32_under_autocast(dtype):
    module = OrthogonalProjection(16, 64)
    features = torch.randn(8, 16)
    expected = module(features)
    with torch.autocast("cpu", dtype):
        projected = module(features)
        torch.testing.assert_close(projected, expected)
        half = module(features.to(dtype))
        assert orthogonality_error(module.weight) <= 1e-5
    assert projected.dtype == half.dtype == torch.float32
    half.sum().backward()
    assert module.parameter.grad.dtype == torch.float32


def test_ignores_a_reduced_matmul_precision():
    module = OrthogonalProjection(16, 64)
    torch.set_float32_matmul_precision("medium")
    try:
        assert orthogonality_error(module.weight) <= 1e-5
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_products_are_of_full_precision_within_and_as_before_after(monkeypatch):
    seen = []
    original = projection._gram

    def gram(tall):
        seen.append(torch.get_float32_matmul_precision())
        return original(tall)

    monkeypatch.setattr(projection, "_gram", gram)
    torch.set_float32_matmul_precision("medium")
    try:
        OrthogonalProjection(3, 5)(torch.randn(2, 3)).sum().backward()
    finally:
        torch.set_float32_matmul_precision("highest")
    assert set(seen) == {"highest"}


def test_copies_pickles_and_reloads():
    module = OrthogonalProjection(6, 10)
    features = torch.randn(3, 6)
    restored = OrthogonalProjection(6, 10)
    restored.load_state_dict(module.state_dict())
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), restored):
        assert torch.equal(twin(features), module(features))


@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("dependent", [True, False])
def test_its_operators_keep_what_torch_asks_of_custom_ones(transposed, dependent, place):
    on_host, tall = place == "host", torch.randn(9, 5)
    if dependent:
        tall[:, 1] = tall[:, 0] + 1e-3 * tall[:, 1]
    tall = (tall.T.contiguous().T if transposed else tall).requires_grad_()
    lower = projection._cholesky_factor(tall.detach())
    for operator, width in ((projection._expand, 5), (projection._reduce, 9)):
        rows = torch.randn(4, width, requires_grad=True)
        torch.library.opcheck(operator, (rows, tall, on_host), atol=1e-3, rtol=1e-3)
    for operator, widths in (
        (projection._expand_backward, (9, 5)),
        (projection._reduce_backward, (5, 9)),
    ):
        grad, rows = (torch.randn(4, width) for width in widths)
        inputs = (grad, rows, tall.detach(), lower, on_host)
        torch.library.opcheck(operator, inputs, atol=1e-1, rtol=1e-1)


@pytest.mark.slow
@pytest.mark.parametrize(("student", "teacher"), [(6, 10), (10, 6)])
def test_compiles_without_a_graph_break(student, teacher):
    module = OrthogonalProjection(student, teacher)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    features = torch.randn(4, student)
    expected = module(features)
    expected.square().sum().backward()
    gradient, module.parameter.grad = module.parameter.grad, None
    projected = compiled(features)
    projected.square().sum().backward()
    torch.testing.assert_close(projected, expected)
    torch.testing.assert_close(module.parameter.grad, gradient)


def test_exports_a_plain_linear():
    module = OrthogonalProjection(6, 10)
    linear = module.export_linear()
    features = torch.randn(3, 6)
    assert type(linear) is torch.nn.Linear
    assert linear.bias is None
    torch.testing.assert_close(linear(features), module(features))
    torch.testing.assert_close(linear.weight, module.weight)


def test_loads_an_orthonormal_weight_and_refuses_others():
    module = OrthogonalProjection(6, 10)
    weight = torch.linalg.qr(torch.randn(10, 6))[0]
    module.load_weight(weight)
    torch.testing.assert_close(module.weight, weight)
    with pytest.raises(ValueError, match="not orthonormal"):
        module.load_weight(torch.randn(10, 6))
    with pytest.raises(ValueError, match=r"\(10, 6\).*\(6, 10\)"):
        module.load_weight(weight.T)


def test_keeps_leading_dimensions_and_names_a_wrong_size():
    module = OrthogonalProjection(6, 10)
    assert module(torch.randn(2, 3, 6)).shape == (2, 3, 10)
    with pytest.raises(ValueError, match=r"6 features.*\(2, 5\)"):
        module(torch.randn(2, 5))
    with pytest.raises(ValueError, match="student_dim must be at least 1, found 0"):
        OrthogonalProjection(0, 5)


def test_keeps_inner_products_of_a_batch():
    features = torch.randn(12, 16)
    projected = OrthogonalProjection(16, 50)(features)
    torch.testing.assert_close(projected @ projected.T, features @ features.T, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_flow_and_do_not_raise(value):
    module = OrthogonalProjection(8, 12)
    with torch.no_grad():
        next(module.parameters())[0, 0] = value
    found = module(torch.randn(4, 8))
    assert not found.isfinite().all()
    found.sum().backward()


def test_computes_in_float64_where_the_parameter_is_and_in_float32_where_it_is_smaller():
    exact = OrthogonalProjection(6, 10).double()
    assert exact.weight.dtype == exact.export_linear().weight.dtype == torch.float64
    assert orthogonality_error(exact.weight) <= 1e-13
    features = torch.randn(3, 6, dtype=torch.float64)
    torch.testing.assert_close(exact(features), features @ reference_weight(exact.parameter).T)
    small = OrthogonalProjection(6, 10).bfloat16()
    assert small.weight.dtype == small.export_linear().weight.dtype == torch.float32
    assert orthogonality_error(small.weight) <= 1e-5


def test_sizes_of_one_are_taken_and_smaller_ones_named():
    assert OrthogonalProjection(1, 1).weight.abs().item() == pytest.approx(1)
    assert str(OrthogonalProjection(2, 3)) == ("OrthogonalProjection(student_dim=2, teacher_dim=3)")
    for sizes, name in (((0, 5), "student_dim"), ((5, 0), "teacher_dim")):
        with pytest.raises(ValueError, match=f"^{name} must be at least 1, found 0"):
            OrthogonalProjection(*sizes)


@pytest.mark.parametrize(("student", "teacher"), [(6, 10), (10, 6)])
def test_a_weight_is_taken_where_it_is_orthonormal_within_a_thousandth(student, teacher):
    module = OrthogonalProjection(student, teacher)
    weight = OrthogonalProjection(student, teacher).weight.detach()
    for error in (9e-4, 2e-3, 1e-2, 1.0):
        scaled = weight * (1 + error) ** 0.5
        assert orthogonality_error(scaled) == pytest.approx(error, rel=1e-2)
        if error < 1e-3:
            module.load_weight(scaled)
            continue
        with pytest.raises(ValueError, match=re.escape(f"max|Q'Q - I| is {error:.1e}.")):
            module.load_weight(scaled)
    with pytest.raises(ValueError, match="not orthonormal"):
        module.load_weight(weight * torch.nan)
    torch.testing.assert_close(module.weight, weight)


def test_the_error_of_a_weight_is_found_below_the_rounding_of_float32():
    weight = torch.eye(3, dtype=torch.float64) * (1 + 1e-10)
    assert orthogonality_error(weight) == pytest.approx(2e-10, rel=1e-3)
    assert orthogonality_error(torch.zeros(2, 4)) == 1


@pytest.mark.parametrize(("student", "teacher"), [(6, 10), (10, 6)])
def test_the_host_conditions_only_weights_that_need_it(student, teacher, place, monkeypatch):
    calls, conditioned = [], projection._conditioned
    monkeypatch.setattr(
        projection, "_conditioned", lambda tall: calls.append(1) or conditioned(tall)
    )
    module = OrthogonalProjection(student, teacher)
    module(torch.randn(4, student)).sum().backward()
    assert len(calls) == (place == "accelerator")
    calls.clear()
    with torch.no_grad():
        tall = module.parameter if teacher >= student else module.parameter.T
        tall[:, 1] = tall[:, 0] + 1e-3 * tall[:, 1]
    module(torch.randn(4, student)).sum().backward()
    # On the host forward and backward each find it for themselves.
    assert len(calls) == (1 if place == "accelerator" else 2)


@pytest.mark.parametrize("sine", [0.3, 0.5])
def test_a_weight_is_well_conditioned_where_each_column_leaves_the_span_of_those_before(sine):
    # The squared sines are 0.09 and 0.25, around the bound of 0.15.
    tall = torch.tensor([[1.0, (1 - sine**2) ** 0.5], [0.0, sine], [0.0, 0.0]])
    scaled = tall * torch.tensor([1e-3, 1e3])
    found = projection._is_well_conditioned(projection._cholesky_factor(scaled))
    assert found == (sine == 0.5)


@pytest.mark.parametrize("smallest", [0, -3, -6])
def test_conditioning_multiplies_by_an_upper_triangle_and_leaves_nearly_orthonormal_columns(
    smallest,
):
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(40, 12), full_matrices=False)
    tall = (left * torch.logspace(0, smallest, 12)) @ right * torch.logspace(-9, 9, 12)
    frame, factor = projection._conditioned(tall)
    assert (frame.dtype, factor.dtype) == (torch.float32, torch.float64)
    assert orthogonality_error(frame) < 1e-3
    assert torch.equal(factor, factor.triu())
    assert (factor.diagonal() > 0).all()
    tolerance = 1e-6 + 1e-8 / 10**smallest  # columns are kept apart by 1e-8 of their length
    torch.testing.assert_close(frame.double(), tall.double() @ factor, atol=tolerance, rtol=0)


def test_columns_of_more_than_a_block_give_the_same_gram_matrix():
    tall = torch.randn(300, 270)
    gram = projection._gram(tall)
    torch.testing.assert_close(gram.tril(), (tall.T @ tall).tril(), atol=1e-3, rtol=1e-4)
    lower = projection._cholesky_factor(tall)
    assert torch.equal(lower, lower.tril())
    torch.testing.assert_close(lower @ lower.T, tall.T @ tall, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("rows", [1, 6, 7, 50])
def test_solves_and_products_with_the_inverse_agree(rows):
    lower = torch.randn(6, 6, dtype=torch.float64).tril() + 6 * torch.eye(6)
    given = torch.randn(rows, 6, dtype=torch.float64)
    inverse = torch.linalg.inv(lower)
    torch.testing.assert_close(projection._solve(lower, given), given @ inverse)
    torch.testing.assert_close(projection._solve_transposed(lower, given), given @ inverse.T)


def test_drawing_anew_gives_another_weight():
    module = OrthogonalProjection(6, 10)
    before = module.weight.detach()
    module.reset_parameters()
    assert orthogonality_error(module.weight) <= 1e-5
    assert (module.weight - before).abs().max() > 0.1


def test_an_exported_linear_is_free_of_the_module():
    module = OrthogonalProjection(6, 10)
    linear, before = module.export_linear(), module.weight.detach()
    module.reset_parameters()
    assert torch.equal(linear.weight, before)
    assert linear.weight.requires_grad
    assert (linear.in_features, linear.out_features) == (6, 10)


@pytest.mark.parametrize(("student", "teacher"), [(3, 5), (5, 3), (3, 3)])
def test_gradients_equal_finite_differences_where_columns_lean_on_each_other(student, teacher):
    # Well enough conditioned for the host to take the columns as they are.
    module = OrthogonalProjection(student, teacher).double()
    small = min(student, teacher)
    lean = torch.eye(small, dtype=torch.float64) + 0.5 * torch.ones(small, small).triu(1)
    with torch.no_grad():
        tall = module.parameter if teacher >= student else module.parameter.T
        tall.copy_(tall @ lean * torch.tensor([2.0, 0.5, 3.0]))
    features = torch.randn(4, student, dtype=torch.float64, requires_grad=True)

    def project(parameter, given):
        return functional_call(module, {"parameter": parameter}, (given,))

    assert torch.autograd.gradcheck(project, (module.parameter, features))
