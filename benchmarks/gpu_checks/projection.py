"""The projection: orthonormal under any parameters, and its cost."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

from gpu_checks.context import Context
from gpu_checks.rows import Baseline, Row, held, limited, measured
from vkd.projection import OrthogonalProjection, orthogonality_error

LIMIT = 1e-5
SIZES = ((192, 3024), (384, 3024), (768, 3024), (512, 512), (768, 192))
TINY = ((8, 24), (12, 6))
MAPS = ("cayley", "matrix_exp", "householder")


def check(context: Context) -> Iterator[Row]:
    """Yield errors for each size and conditioning, then times."""
    for student, teacher in context.sized(SIZES, TINY):
        what = f"{student} to {teacher}"
        yield from context.part(
            f"{what}, max|Q'Q - I|", orthonormality(context, student, teacher, what)
        )
    for batch in context.sized((256, 512), (16,)):
        yield from context.part(f"batch {batch}, cost", cost(context, batch))


def conditionings(student: int, teacher: int) -> dict[str, Tensor]:
    """Return parameters (teacher, student) that are ever harder to orthonormalise."""
    random = torch.Generator().manual_seed(0)
    drawn = torch.randn(teacher, student, generator=random)
    left, _, right = torch.linalg.svd(drawn, full_matrices=False)
    # Each vector is mostly the first.
    parallel = 0.2 * drawn + (drawn[:, :1] if teacher >= student else drawn[:1])
    spread = left * torch.logspace(0, -6, min(student, teacher)) @ right
    return {
        "orthonormal": left @ right,
        "normal": drawn,
        "nearly parallel": parallel,
        "condition 1e6": spread,
        "scaled by 1e-6 and 1e6": drawn * torch.logspace(-6, 6, student),
        "small, 1e-12": 1e-12 * drawn,
    }


def orthonormality(context: Context, student: int, teacher: int, what: str) -> Iterator[Row]:
    """Yield the largest error of the weight, and whether all gradients are finite."""
    module = OrthogonalProjection(student, teacher).to(context.device)
    features = torch.randn(64, student, device=context.device, requires_grad=True)
    are_finite = True
    for name, parameter in conditionings(student, teacher).items():
        with torch.no_grad():
            module.parameter.copy_(parameter)
        error = orthogonality_error(module.weight)
        yield limited(f"{what}, max|Q'Q - I|, {name}", error, LIMIT)
        module.zero_grad()
        module(features).square().sum().backward()
        assert module.parameter.grad is not None
        are_finite &= bool(module.parameter.grad.isfinite().all())
    yield held(f"{what}, gradients are finite", are_finite)
    with torch.no_grad():
        module.reset_parameters()
    error = _under_reduced_precision(context, module)
    yield limited(f"{what}, max|Q'Q - I|, under autocast and TF32", error, LIMIT)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-1, weight_decay=0.05)
    for _ in range(context.sized(300, 5)):
        optimizer.zero_grad()
        (module(features) * torch.randn(64, teacher, device=context.device)).sum().backward()
        optimizer.step()
    error = orthogonality_error(module.weight)
    yield limited(f"{what}, max|Q'Q - I|, after steps of noise", error, LIMIT)


def _under_reduced_precision(context: Context, module: OrthogonalProjection) -> float:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast(context.device.type, context.half):
            return orthogonality_error(module.weight)
    finally:
        torch.set_float32_matmul_precision(before)


def cost(context: Context, batch: int) -> Iterator[Row]:
    """Yield milliseconds forward and backward, against a plain linear map, in float32."""
    student, teacher = context.sized((192, 3024), (8, 24))
    plain = nn.Linear(student, teacher, bias=False)
    modules: dict[str, nn.Module] = {
        "nn.Linear": plain,
        "vkd.OrthogonalProjection": OrthogonalProjection(student, teacher),
    }
    modules |= {
        f"torch's orthogonal, {name}": orthogonal(
            nn.Linear(student, teacher, bias=False), orthogonal_map=name
        )
        for name in MAPS
    }
    features = torch.randn(batch, student, device=context.device, requires_grad=True)
    grad = torch.randn(batch, teacher, device=context.device)
    baseline = None
    for name, module in modules.items():
        what = f"{student} to {teacher}, batch {batch}, forward and backward, {name}"
        run = partial(_pass, module.to(context.device), features, grad)
        taken = 1e3 * context.seconds({name: run})[name]
        yield measured(what, taken, "ms", baseline)
        baseline = baseline or Baseline("nn.Linear", taken)


def _pass(module: Callable[[Tensor], Tensor], features: Tensor, grad: Tensor) -> None:
    module.zero_grad()  # type: ignore[attr-defined]
    features.grad = None
    module(features).backward(grad)
