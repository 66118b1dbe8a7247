"""What a distillation method is: it sees the signals of a batch and returns a scalar loss."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from vkd.errors import UserError


class Signals(NamedTuple):
    """What a method may use, of N samples; what a task does not have is None.

    Attributes:
        student_features: pooled features of the student (N, S).
        teacher_features: pooled features of the teacher (N, T), without gradients.
        student_logits: class logits of the student (N, classes).
        teacher_logits: class logits of the teacher (N, classes), without gradients.
        labels: class numbers (N,), or shares of classes (N, classes) where images are mixed.
        indices: positions of the samples in their data set (N,).
    """

    student_features: Tensor | None = None
    teacher_features: Tensor | None = None
    student_logits: Tensor | None = None
    teacher_logits: Tensor | None = None
    labels: Tensor | None = None
    indices: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a method is built for; 0 where a task has no such thing.

    Attributes:
        student_dim, teacher_dim: numbers of features.
        classes: number of classes.
        samples: number of training samples, which ``indices`` count.
    """

    student_dim: int = 0
    teacher_dim: int = 0
    classes: int = 0
    samples: int = 0


class Method(nn.Module):
    """A loss between a student and a teacher; subclasses implement ``forward(signals)``.

    Its parameters train with the student and are never decayed; its buffers are part of a run's
    state. Options beside ``sizes`` are keyword arguments with defaults.

    Attributes:
        needs: the fields of ``Signals`` that it reads.
        recipe_fields: options that a recipe or its task sets, for example ``temperature``; others
            are given by ``method_options``.
        relational: whether it compares samples with each other, at a cost that grows with the
            square of their number or faster.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"student_features", "teacher_features"})
    recipe_fields: ClassVar[frozenset[str]] = frozenset()
    relational: ClassVar[bool] = False

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes

    def forward(self, signals: Signals) -> Tensor:
        """Return the scalar loss of a batch."""
        raise NotImplementedError

    @property
    def explained(self) -> Tensor | None:
        """Share of the variance of ``target`` that the student explained in the last batch.

        A scalar, see ``vkd.similarity.explained_share``. None before the first batch, and for
        methods whose features are not to match a target, but compare samples.
        """
        return None

    def projection_weight(self) -> Tensor | None:
        """Return the matrix (T, S) that maps student to teacher features; None without one."""
        return None

    def target(self, teacher_features: Tensor) -> Tensor:
        """Return the teacher's features (N, T) as projected student features are to match them."""
        return teacher_features

    def load_projection(self, weights: Mapping[str, Tensor]) -> dict[str, str]:
        """Take a projection that was trained elsewhere.

        Args:
            weights: the orthonormal matrix ``projection`` (T, S), and where it has them the scale
                ``weight`` and the shift ``bias`` (T,).

        Returns:
            What was taken, each with the name of this method's parameter; nothing where it has no
            such projection.
        """
        return {}

    def saved_projection(self, state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Return the file ``projection`` of a run, with the matrix ``weight``; none without one.

        Args:
            state: this method's whole state, as its own parameters may be shards.
        """
        # A copy that takes the whole tensors where this module has its own.
        own = [*self.named_parameters(), *self.named_buffers()]
        whole = {
            id(tensor): nn.Parameter(state[name], False) for name, tensor in own if name in state
        }
        weight = deepcopy(self, whole).projection_weight()
        return {} if weight is None else {"projection": {"weight": weight.detach()}}


def explained_by(losses: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Return what methods explained of their targets in the last batch, where they have such."""
    found = {name: loss.explained for name, loss in losses.items() if isinstance(loss, Method)}
    return {name: share for name, share in found.items() if share is not None}


def needed(signals: Signals, method: Method) -> list[Any]:
    """Return the signals that a method needs, in the order of ``Signals``.

    Raises:
        UserError: if one of them is absent.
    """
    found = []
    for name, value in signals._asdict().items():
        if name in method.needs:
            if value is None:
                raise UserError(f"{type(method).__name__} needs {name}, which are not given.")
            found.append(value)
    return found
