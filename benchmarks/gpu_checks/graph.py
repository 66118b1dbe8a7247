"""The distiller's step, captured in a CUDA graph, does what it does eagerly.

Both start from the same weights and see the same batches; the student has no dropout, as a graph
draws its random numbers at other offsets of the generator than eager steps do.
"""

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gpu_checks.context import Context, UnavailableError, relative_error
from gpu_checks.modules import classifier_teacher
from gpu_checks.rows import Baseline, Row, limited, measured
from vkd.models import create_model, last_layer

# The order of sums may differ; that of weights is a share of how far they moved.
LOSS, WEIGHTS = 1e-3, 1e-2
_WARM_UP, _STEPS = 3, 10


def check(context: Context) -> Iterator[Row]:
    """Yield how far replayed steps are from eager ones, and the times of both."""
    for dtype in (torch.float32, context.half):
        name = str(dtype).removeprefix("torch.")
        yield from context.part(f"{name}, the distiller's step", compared(context, dtype, name))


class Steps:
    """A distiller's steps on a batch that lies in one place, as a graph needs it.

    Args:
        distiller: a ``vkd.Distiller``.
        batch: images and labels, which ``load`` overwrites.
        dtype: of autocast; float32 for none.
    """

    def __init__(self, distiller: Any, batch: tuple[Tensor, Tensor], dtype: torch.dtype) -> None:
        self.distiller = distiller
        self.images, self.labels = (part.clone() for part in batch)
        kind = self.images.device.type
        # The cache of casts would hold tensors of the graph's memory beyond a replay.
        self.autocast = partial(
            torch.autocast, kind, dtype, enabled=dtype != torch.float32, cache_enabled=False
        )
        # Adam's kind would blow up rounding where gradients are tiny.
        self.optimizer = torch.optim.SGD(distiller.parameters(), lr=1e-2, momentum=0.9)
        self.loss = torch.zeros((), device=self.images.device)

    def load(self, images: Tensor, labels: Tensor) -> None:
        """Put a batch into its place."""
        self.images.copy_(images)
        self.labels.copy_(labels)

    def __call__(self) -> None:
        """Take a step; its loss is in ``loss`` then."""
        # Gradients are made anew: in a graph, in its own memory, at the same place each time.
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast():
            logits, distillation, _ = self.distiller(self.images)
            label = torch.nn.functional.cross_entropy(logits.float(), self.labels)
            loss = label + distillation
        loss.backward()
        self.optimizer.step()
        self.loss.copy_(loss.detach())


def compared(context: Context, dtype: torch.dtype, name: str) -> Iterator[Row]:
    """Yield the errors of losses and weights after some steps, then the times of a step."""
    distiller = _distiller(context)
    start = _flat(distiller)
    eager = Steps(distiller, _batch(context, 0), dtype)
    captured = Steps(_twin(distiller, context), _batch(context, 0), dtype)
    replay = capture(context, captured)
    # The same start: captured steps warmed up on a batch of their own.
    for _ in range(_WARM_UP):
        eager()
    losses: dict[str, list[Tensor]] = {"eager": [], "captured": []}
    for number in range(1, _STEPS + 1):
        batch = _batch(context, number)
        for way, steps, run in (("eager", eager, eager), ("captured", captured, replay)):
            steps.load(*batch)
            run()
            losses[way].append(steps.loss.clone())
    found, expected = (torch.stack(losses[way]) for way in ("captured", "eager"))
    off = relative_error(found, expected)
    moved, expected = (_flat(steps.distiller) - start for steps in (captured, eager))
    apart = relative_error(moved, expected)
    if not context.has_cuda:
        raise UnavailableError("needs CUDA; the steps themselves run")
    yield limited(f"{name}, losses of {_STEPS} replays against eager", off, LOSS)
    yield limited(f"{name}, weights after {_STEPS} replays against eager", apart, WEIGHTS)
    taken = context.seconds({"eager": eager, "captured": replay})
    baseline = Baseline("eager", 1e3 * taken["eager"])
    yield measured(f"{name}, a step, eager", baseline.value, "ms")
    yield measured(f"{name}, a step, replayed", 1e3 * taken["captured"], "ms", baseline)


def _distiller(context: Context) -> Any:
    from vkd.distiller import Distiller

    torch.manual_seed(0)
    name, layer = context.sized(("deit_tiny_patch16_224", "final_conv"), ("conv_vit_digits", ""))
    student = create_model(name)
    teacher = classifier_teacher(context)
    example = torch.zeros(2, *_shape(context))
    layer = layer or last_layer(teacher)
    made = Distiller(student, teacher, "norm", layer, example=example)
    teacher.to(context.device)
    return made.to(context.device).train()


def _twin(distiller: Any, context: Context) -> Any:
    """Another distiller with equal weights, and the same teacher's."""
    other = _distiller(context)
    other.load_state_dict(copy.deepcopy(distiller.state_dict()))
    other.teacher.model.load_state_dict(distiller.teacher.model.state_dict())
    return other


def _shape(context: Context) -> tuple[int, int, int]:
    return context.sized((3, 224, 224), (1, 8, 8))


def _batch(context: Context, seed: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    count, classes = context.sized((32, 1000), (4, 10))
    images = torch.randn(count, *_shape(context), generator=random)
    labels = torch.randint(classes, (count,), generator=random)
    return images.to(context.device), labels.to(context.device)


def capture(context: Context, steps: Steps) -> Any:
    """Warm up on a stream beside the current one, capture a step, and return its replay.

    What is warmed up counts as steps; the captured one does not, as it does not run.
    """
    if not context.has_cuda:
        for _ in range(_WARM_UP):
            steps()
        return steps
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM_UP):
            steps()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        steps()
    return graph.replay


def _flat(distiller: Any) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in distiller.parameters()])
