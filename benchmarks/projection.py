"""Time of an orthogonal projection against a plain linear layer, forward and backward.

    python benchmarks/projection.py            # on the CPU, or CUDA where it is available
    python benchmarks/projection.py --slow     # with torch's own three maps at every size

The baseline is ``nn.Linear`` without bias; its passes alternate with those of each rival, as the
clock of a machine drifts over seconds.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

from vkd import OrthogonalProjection
from vkd.projection import orthogonality_error
from vkd.reporting.environment import environment

TEACHER_DIM, BATCH = 3024, 512


class Materialised(nn.Module):
    """A projection that forms its whole weight in every forward pass, by a differentiable map."""

    def __init__(self, dim: int, orthonormalise: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.parameter = nn.Parameter(nn.init.orthogonal_(torch.empty(TEACHER_DIM, dim)))
        self.orthonormalise = orthonormalise

    @property
    def weight(self) -> Tensor:
        return self.orthonormalise(self.parameter)

    def forward(self, features: Tensor) -> Tensor:
        return features @ self.weight.T


def cholesky_qr(matrix: Tensor) -> Tensor:
    """Matrix times the inverse of its Gram matrix's Cholesky factor."""
    upper = torch.linalg.cholesky(matrix.T @ matrix, upper=True)
    return torch.linalg.solve_triangular(upper, matrix, upper=True, left=False)


def cholesky_qr2(matrix: Tensor) -> Tensor:
    """Cholesky QR applied twice."""
    return cholesky_qr(cholesky_qr(matrix))


def householder_qr(matrix: Tensor) -> Tensor:
    """torch.linalg.qr."""
    return torch.linalg.qr(matrix)[0]


def polar(matrix: Tensor) -> Tensor:
    """Polar factor by ten Newton-Schulz steps."""
    matrix = matrix / torch.linalg.matrix_norm(matrix)
    for _ in range(10):
        matrix = 1.5 * matrix - 0.5 * matrix @ (matrix.T @ matrix)
    return matrix


def low_rank_cayley(matrix: Tensor) -> Tensor:
    """Cayley transform of the skew matrix between base and parameter, of rank 2 student_dim."""
    dim = matrix.shape[1]
    base = torch.zeros_like(matrix)
    base.diagonal().fill_(1.0)
    left, right = torch.cat([matrix, base], 1), torch.cat([base, -matrix], 1)
    middle = torch.eye(2 * dim).to(matrix) - 0.5 * right.T @ left
    return base + left @ torch.linalg.solve(middle, right.T @ base)


class Retraction(nn.Module):
    """A plain linear map whose weight is pulled back to the manifold before every forward pass."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.orthogonal_(torch.empty(TEACHER_DIM, dim)))

    def forward(self, features: Tensor) -> Tensor:
        with torch.no_grad():
            self.weight.copy_(cholesky_qr(self.weight))
        return features @ self.weight.T


def step(module: nn.Module, features: Tensor, grad: Tensor) -> Callable[[], None]:
    """A function that runs one forward and backward pass."""

    def run() -> None:
        module.zero_grad()
        features.grad = None
        module(features).backward(grad)
        if features.is_cuda:
            torch.cuda.synchronize()

    return run


def milliseconds(runs: list[Callable[[], None]], repeats: int) -> list[float]:
    """Median time of a pass of each, taken in turn, after two to warm up."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats + 2):
        for run, taken in zip(runs, times, strict=True):
            began = time.perf_counter()
            run()
            taken.append(time.perf_counter() - began)
    return [1e3 * median(taken[2:]) for taken in times]


def by_batch(repeats: int, device: str) -> None:
    """Print the cost of the projection, which shrinks with the batch that shares it."""
    for dim in (192, 384, 768):
        row = []
        for batch in (256, 512, 1024, 2048):
            features = torch.randn(batch, dim, device=device, requires_grad=True)
            grad = torch.randn(batch, TEACHER_DIM, device=device)
            plain = nn.Linear(dim, TEACHER_DIM, bias=False).to(device)
            ours = OrthogonalProjection(dim, TEACHER_DIM).to(device)
            passes = [step(module, features, grad) for module in (plain, ours)]
            baseline, taken = milliseconds(passes, repeats)
            row.append(f"{batch}: {taken / baseline:.2f}")
        print(f"vkd.OrthogonalProjection, {dim:>3} features, x linear at batch {', '.join(row)}")


def main() -> None:
    """Print a table for each student size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slow", action="store_true", help="torch's maps beyond 192 features too")
    parser.add_argument("--repeats", type=int, default=25)
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    print(", ".join(f"{name} {value}" for name, value in environment().items()))
    print(f"forward and backward, to {TEACHER_DIM} features, float32")
    by_batch(arguments.repeats, device)
    print(f"\nbatch {BATCH}")
    for dim in (192, 384, 768):
        features = torch.randn(BATCH, dim, device=device, requires_grad=True)
        grad = torch.randn(BATCH, TEACHER_DIM, device=device)
        linear = step(nn.Linear(dim, TEACHER_DIM, bias=False).to(device), features, grad)
        rivals: dict[str, Callable[[], nn.Module]] = {
            "vkd.OrthogonalProjection": lambda dim=dim: OrthogonalProjection(dim, TEACHER_DIM),
            "retraction": lambda dim=dim: Retraction(dim),
        }
        maps = (cholesky_qr, cholesky_qr2, householder_qr, polar, low_rank_cayley)
        rivals |= {m.__name__: lambda m=m, dim=dim: Materialised(dim, m) for m in maps}
        if arguments.slow or dim == 192:
            rivals |= {
                f"torch {name}": lambda name=name, dim=dim: orthogonal(
                    nn.Linear(dim, TEACHER_DIM, bias=False), orthogonal_map=name
                )
                for name in ("cayley", "matrix_exp", "householder")
            }
        print(f"\n{dim} -> {TEACHER_DIM}: {'map':<26}{'ms':>10}{'x linear':>10}{'max|QtQ-I|':>12}")
        alone = milliseconds([linear], arguments.repeats)[0]
        print(f"{'':>13}{'nn.Linear':<26}{alone:>10.1f}{1:>10.2f}")
        for name, build in rivals.items():
            module = build().to(device)
            repeats = 2 if name.startswith("torch") else arguments.repeats
            baseline, taken = milliseconds([linear, step(module, features, grad)], repeats)
            error = orthogonality_error(module.weight)
            print(f"{'':>13}{name:<26}{taken:>10.1f}{taken / baseline:>10.2f}{error:>12.1e}")


if __name__ == "__main__":
    main()
