"""How like a detector's tokens are to its teacher's."""

import torch
from torch import Tensor

from vkd.data.description import spread
from vkd.detection.coco import CocoImages
from vkd.detection.module import DetectionModule
from vkd.detection.tokens import sets_of
from vkd.methods.method import Method
from vkd.models.vidt.detector import pad_images
from vkd.training.similarities import Similarities, Similarity, samples_to_compare, similarity_of
from vkd.training.task import Evaluated

_LEAST, _MOST = 4, 16
_MOST_ROWS = 512


@torch.no_grad()
def similarities_of(
    module: DetectionModule, images: CocoImages, trained_on: int, model: Evaluated
) -> Similarities:
    """Return how like each set of tokens is to the teacher's, on a few validation pictures.

    Args:
        module: the networks and losses.
        images: the validation pictures.
        trained_on: pictures that are trained on, over all epochs.
        model: the student as it is evaluated.
    """
    if module.teacher is None or module.token_loss is None:
        return Similarities(reason="the student is trained alone")
    count = samples_to_compare(len(images), trained_on, _LEAST, _MOST)
    ours: list[list[Tensor]] = []
    theirs: list[list[Tensor]] = []
    for place in spread(len(images), count):
        # One by one, so that no token is of padding.
        batch, mask = pad_images(images[place][0][None].to(model.accelerator.device))
        with model.accelerator.autocast():
            found = model.predict(batch, mask, True)["tokens"]
        ours.append([part.float().cpu() for part in sets_of(found)])
        theirs.append([part.float().cpu() for part in sets_of(module.teacher(batch, mask))])
    names = list(module.token_loss.losses)
    pairs = zip(names, zip(*ours, strict=True), zip(*theirs, strict=True), strict=True)
    return Similarities(
        [_similarity(module, name, torch.cat(a), torch.cat(b), count) for name, a, b in pairs]
    )


def _similarity(
    module: DetectionModule, name: str, student: Tensor, teacher: Tensor, images: int
) -> Similarity:
    rows = spread(len(student), _MOST_ROWS)
    student, teacher = student[rows], teacher[rows]
    assert module.token_loss is not None
    method = module.token_loss.losses[name]
    projection = target = None
    if isinstance(method, Method) and (projection := method.projection_weight()) is not None:
        target = method.target(teacher.to(projection.device))
    return similarity_of(
        f"{name.replace('_', ' ')} tokens",
        f"{len(rows):,} tokens of {images} validation pictures",
        student, teacher, projection, target,
    )  # fmt: skip
