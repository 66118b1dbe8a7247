"""How like a discriminator's features are to the teacher's."""

from typing import Any

import torch

from vkd.data.description import few_batches
from vkd.generation.module import DiscriminatorModule
from vkd.methods.method import Method
from vkd.teacher import StoredTeacher
from vkd.training.similarities import Similarities, samples_to_compare, similarity_of
from vkd.training.task import Evaluated


@torch.no_grad()
def similarities_of(
    module: DiscriminatorModule, training: Any, validation: Any, epochs: int, model: Evaluated
) -> Similarities:
    """Return how like the discriminator's features of real images are to the teacher's.

    On validation images; on those of training where the teacher's outputs are stored.

    Args:
        module: the networks and losses.
        training: the training images as they are read, with the indices of stored outputs.
        validation: other real images.
        epochs: of training.
        model: of the accelerator.
    """
    if module.teacher is None:
        return Similarities(reason="the discriminator is trained without a teacher")
    is_stored = isinstance(module.teacher, StoredTeacher)
    images = training if is_stored else validation
    count = samples_to_compare(len(images), epochs * len(training))
    device = model.accelerator.device
    was_training = module.discriminator.training
    module.discriminator.eval()
    ours, theirs = [], []
    for inputs, labels, indices in few_batches(images, count):
        readable = labels >= 0
        inputs, labels, indices = (part[readable].to(device) for part in (inputs, labels, indices))
        with model.accelerator.autocast():
            ours.append(module.discriminator(inputs, labels)[1].float().cpu())
        output = module.teacher(inputs, indices if is_stored else None)
        theirs.append(output.only.float().cpu())
    module.discriminator.train(was_training)
    student, teacher = torch.cat(ours), torch.cat(theirs)
    samples = f"{len(student):,} of {len(images):,} {'training' if is_stored else 'validation'}"
    method, projection, target = module.method, None, None
    if isinstance(method, Method) and (projection := method.projection_weight()) is not None:
        target = method.target(teacher.to(projection.device))
    names = "discriminator's and the teacher's features"
    return Similarities(
        [similarity_of(names, f"{samples} images", student, teacher, projection, target)]
    )
