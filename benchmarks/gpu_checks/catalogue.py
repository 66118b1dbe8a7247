"""The checks by name, the most important first."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """A check before its module is imported.

    Attributes:
        module: has ``check(context)``, which yields the rows.
        title: in the table.
        seconds: the most that it may take.
    """

    module: str
    title: str
    seconds: float

    @property
    def name(self) -> str:
        """The last part of the module's name."""
        return self.module.rpartition(".")[2]


CHECKS: dict[str, Check] = {
    check.name: check
    for check in (
        Check("gpu_checks.attention", "deformable attention", 70),
        Check("gpu_checks.projection", "projection", 60),
        Check("gpu_checks.waiting", "a step without waiting", 70),
        Check("gpu_checks.graph", "captured graph", 50),
        Check("gpu_checks.training", "training step", 110),
        Check("gpu_checks.detectors", "detectors", 90),
        Check("gpu_checks.precision", "mixed precision", 60),
        Check("gpu_checks.fashion_mnist", "Fashion-MNIST", 100),
    )
}
