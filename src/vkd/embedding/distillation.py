"""What a student and its teachers are compared by: a ``vkd.Distiller`` of the recipe's method."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from vkd.distiller import Distiller, Pair
from vkd.embedding.config import EmbeddingConfig
from vkd.embedding.grids import check_grids, grid_of, matched_rows
from vkd.embedding.teachers import ChosenTeacher, require_layer, tried
from vkd.errors import FieldError, as_user_error, shortened
from vkd.features import FeatureTap, Pool, pooling, prefix_tokens_of, probing
from vkd.loss import FeatureLoss
from vkd.methods.build import build_method, check_signals
from vkd.methods.method import Method, Signals, Sizes
from vkd.models.factory import told_last_layer
from vkd.notes import say
from vkd.teacher import MemoryTeacher, NetworkTeacher, Teacher, TeacherOutput


class MethodLoss(nn.Module):
    """A method as the loss of a pair of layers in a ``Distiller``.

    Args:
        method: maps ``Signals`` to a scalar.

    Attributes:
        indices: of the next batch's images in their data set (N,), for methods that need them.
    """

    def __init__(self, method: nn.Module) -> None:
        super().__init__()
        self.method = method
        self.indices: Tensor | None = None

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss of features (N, D), or of grids (N, D, H, W)."""
        if student.ndim == 2:
            signals = Signals(
                student_features=student, teacher_features=teacher, indices=self.indices
            )
        else:
            ours, theirs = matched_rows(student, teacher)
            signals = Signals(student_features=ours, teacher_features=theirs)
        return self.method(signals)


def check_method(config: EmbeddingConfig) -> None:
    """Raise ``UserError`` for a method that cannot compare the recipe's features."""
    if not config.needs_teacher:
        return
    available = {"student_features", "teacher_features"}
    where = "grids of features" if config.dense else "embeddings without labels"
    if not config.dense:
        available.add("indices")
    with as_user_error("method"):
        check_signals(config.method, available, where, many_rows=config.dense)


def distiller_of(
    config: EmbeddingConfig,
    student: nn.Module,
    teachers: Sequence[ChosenTeacher],
    samples: int,
    example: Tensor,
    constant: Tensor | None,
    loss: Callable[[Sizes], nn.Module] | None = None,
) -> Distiller:
    """Return what distils a student by a recipe.

    Parameters of the student that no compared layer depends on are frozen, and said.

    Args:
        config: the recipe.
        student: the network to train.
        teachers: its teachers.
        samples: number of training images.
        example: an image batch to find feature sizes with.
        constant: the training images, where they are the same in every epoch: teachers see them
            once.
        loss: the method, where it is given as an object.

    Raises:
        UserError: for a layer that is not there or gives no features, grids that do not fit, or a
            method that does not.
    """
    check_method(config)
    layers = [_with_student_layers(config, student, chosen) for chosen in teachers]
    own: Pool = partial(grid_of, prefix_tokens=prefix_tokens_of(student))
    pool = own if config.dense else pooling("auto", prefix_tokens_of(student))
    features = _student_features(student, layers, pool, example)
    found: list[Teacher] = []
    for chosen, pairs in zip(teachers, layers, strict=True):
        output = tried(chosen, example)
        if config.dense:
            _check_pairs(features, output, pairs)
        is_constant = constant is not None and isinstance(chosen.teacher, NetworkTeacher)
        found.append(
            MemoryTeacher(chosen.teacher, cast(Tensor, constant)) if is_constant else chosen.teacher
        )

    def make(student_dim: int, teacher_dim: int) -> FeatureLoss:
        sizes = Sizes(student_dim=student_dim, teacher_dim=teacher_dim, samples=samples)
        # As Distiller calls any module of two features.
        return cast(FeatureLoss, MethodLoss(loss(sizes) if loss else _method(config, sizes)))

    with as_user_error("layers" if config.layers else "student_layer"):
        return Distiller(
            student,
            found,
            pool=pool,
            loss=make,
            example=example,
            layers=layers,
            layer_weights=config.layer_weights,
            teacher_weights=[chosen.weight for chosen in teachers],
        )


def _with_student_layers(
    config: EmbeddingConfig, student: nn.Module, chosen: ChosenTeacher
) -> dict[str, str | None]:
    """A teacher's pairs of layers; in dense distillation the student's last is the default."""
    layers = chosen.layers
    if config.dense and "" in layers:
        last = told_last_layer(student, f"student {config.student}")
        layers = {name or last: layer for name, layer in layers.items()}
    for name in layers:
        require_layer(student, name, "layers" if config.layers else "student_layer")
    return layers


def _student_features(
    student: nn.Module, layers: Sequence[Mapping[str, str | None]], pool: Pool, example: Tensor
) -> dict[str, Tensor]:
    """The student's features of an example by layer; what they do not depend on is frozen."""
    names = dict.fromkeys(name for pairs in layers for name in pairs)
    taps = {name: FeatureTap(student, name) for name in names}
    try:
        with probing(student), torch.enable_grad():
            student(example)
            found = {name: pool(tap.take()) for name, tap in taps.items()}
            torch.stack([features.float().sum() for features in found.values()]).sum().backward()
    except (RuntimeError, ValueError) as error:
        raise FieldError("student_layer", f": {shortened(error, 240)}") from None
    finally:
        for tap in taps.values():
            tap.remove()
    idle = [name for name, p in student.named_parameters() if p.requires_grad and p.grad is None]
    student.zero_grad(set_to_none=True)
    _freeze(student, idle)
    return {name: features.detach() for name, features in found.items()}


def _freeze(student: nn.Module, names: Sequence[str]) -> None:
    """Freeze parameters, which weight decay would shrink otherwise, and name some."""
    for name in names:
        student.get_parameter(name).requires_grad_(False)
    if names:
        say(
            "student",
            [
                f"{len(names)} of its parameters learn nothing, as no compared layer depends on "
                f"them, and stay as they are: {', '.join(names[:3])}"
                + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            ],
        )


def _check_pairs(
    features: Mapping[str, Tensor], output: TeacherOutput, pairs: Mapping[str, str | None]
) -> None:
    """Refuse grids of different proportions; say where they have other sizes."""
    for ours, theirs in pairs.items():
        target = output.only if theirs is None else output.features[theirs]
        with as_user_error("dense"):
            note = check_grids(
                features[ours], target, f"the layers {ours!r} and {theirs or 'of the teacher'!r}"
            )
        say("dense", [note] if note else [])


def _method(config: EmbeddingConfig, sizes: Sizes) -> Method:
    with as_user_error("method_options"):
        return build_method(config.method, sizes, config.method_options, config.method_values())


def saved_projections(
    distiller: Distiller, state: Mapping[str, Tensor], is_embedding: Callable[[Pair], bool]
) -> dict[str, Tensor]:
    """Return the matrices of linear projections, each (teacher_dim, student_dim).

    That of the embedding itself is ``weight``, if there is one; others are named by their layers.

    Args:
        distiller: whose losses have them.
        state: the state of its ``loss``, whole, as parameters may be shards.
        is_embedding: whether a pair compares the student's embedding.
    """
    found: dict[str, Tensor] = {}
    single = len(distiller.pairs) == 1
    for number, ((name, loss), pair) in enumerate(
        zip(distiller.losses.items(), distiller.pairs, strict=True)
    ):
        method = cast(MethodLoss, loss).method
        if not isinstance(method, Method):
            continue
        place = "" if single else f"{name.replace('.', '/')}."
        start = f"{place}method."
        own = {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}
        saved = method.saved_projection(own).get("projection", {})
        if "weight" in saved:
            is_first = "weight" not in found and is_embedding(pair) and pair.teacher == 0
            found["weight" if is_first else name or str(number)] = saved["weight"]
    return found
