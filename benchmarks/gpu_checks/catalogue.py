"""The checks by name, the most important first."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """A check before its module is imported.

    Attributes:
        name: of the module, too.
        title: in the table.
        seconds: the most that it may take.
    """

    name: str
    title: str
    seconds: float


CHECKS: dict[str, Check] = {
    check.name: check
    for check in (
        Check("attention", "deformable attention", 70),
        Check("projection", "projection", 60),
        Check("waiting", "a step without waiting", 70),
        Check("graph", "captured graph", 50),
        Check("training", "training step", 110),
        Check("detectors", "detectors", 90),
        Check("precision", "mixed precision", 60),
        Check("fashion_mnist", "Fashion-MNIST", 100),
    )
}
