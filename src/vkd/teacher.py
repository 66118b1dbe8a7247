"""The teacher as tasks see it: features and logits of a batch, whoever computes them."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vkd.features import FeatureTap, Pool, pooling


class TeacherOutput(NamedTuple):
    """What a teacher knows of a batch: pooled ``features`` (N, D) and ``logits`` (N, classes)."""

    features: Tensor
    logits: Tensor


def joined(parts: Iterable[TeacherOutput]) -> TeacherOutput:
    """Return the answers to several batches as those to one."""
    return TeacherOutput(*(torch.cat(part) for part in zip(*parts, strict=True)))


class Teacher(Protocol):
    """Answers with the features and logits of a batch; a network or a store on disk.

    ``indices`` (N,) are the samples' positions in their data set, by which a store finds them.
    """

    def __call__(self, images: Tensor, indices: Tensor | None = None) -> TeacherOutput: ...


class InputAdapter(nn.Module):
    """Turns images made for the student into images made for the teacher.

    Args:
        student_stats, teacher_stats: per-channel (mean, deviation) that each network's input was
            normalised with; equal or None: left as they are.
        size: (height, width) that the teacher needs, None for any.
    """

    def __init__(
        self,
        student_stats: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
        teacher_stats: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.size = size
        if student_stats and teacher_stats and student_stats != teacher_stats:
            student_mean, student_std = (torch.tensor(s)[:, None, None] for s in student_stats)
            teacher_mean, teacher_std = (torch.tensor(s)[:, None, None] for s in teacher_stats)
            scale, shift = student_std / teacher_std, (student_mean - teacher_mean) / teacher_std
        else:
            scale, shift = torch.ones(1), torch.zeros(1)
        self.scale = nn.Buffer(scale, persistent=False)
        self.shift = nn.Buffer(shift, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, *size)."""
        images = images * self.scale + self.shift
        if self.size is not None and images.shape[-2:] != self.size:
            images = F.interpolate(images, self.size, mode="bicubic", antialias=True)
        return images


class NetworkTeacher:
    """A frozen network in eval mode that computes without gradients.

    It is no ``nn.Module`` on purpose: whatever holds it neither trains, saves nor wraps it.

    Args:
        model: any network that maps images to logits.
        layer: name of the submodule whose output is the features.
        pool: see ``vkd.features.pooling``.
        adapter: applied to the images first.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str,
        pool: str | Pool = "auto",
        adapter: nn.Module | None = None,
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.adapter = adapter or nn.Identity()
        self._tap = FeatureTap(model, layer)
        self._pool = pooling(pool, getattr(model, "num_prefix_tokens", 0))

    @torch.no_grad()
    def __call__(self, images: Tensor, indices: Tensor | None = None) -> TeacherOutput:
        # Whoever else holds the model may have moved it or called train() on it.
        self.model.to(images.device).eval()
        logits = self.model(self.adapter.to(images.device)(images))
        return TeacherOutput(self._pool(self._tap.take()), logits)


class StoredTeacher:
    """Asks a teacher once about every image of a data set, and answers by index from then on.

    For images that are the same in every epoch. All are asked about at once, in their order, so
    that answers are the same bit for bit in a run that is resumed.

    Args:
        teacher: who knows.
        images: the whole data set (N, C, H, W), in the order of its indices.
        batch_size: images to ask about at a time.
    """

    def __init__(self, teacher: Teacher, images: Tensor, batch_size: int = 256) -> None:
        self.teacher = teacher
        self._images, self._batch_size = images, batch_size
        self._known: TeacherOutput | None = None

    def __call__(self, images: Tensor, indices: Tensor | None = None) -> TeacherOutput:
        if indices is None:
            return self.teacher(images)
        if self._known is None:
            batches = self._images.split(self._batch_size)
            self._known = joined(self.teacher(batch.to(images.device)) for batch in batches)
        features, logits = self._known
        return TeacherOutput(features[indices], logits[indices])
