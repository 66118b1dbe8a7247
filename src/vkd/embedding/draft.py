"""What ``vkd init`` writes of image embedding."""

from vkd.data.catalogue import SMALL
from vkd.training.drafting import (
    Choice,
    DraftRequest,
    feature_choices,
    photograph_choices,
    schedule_choices,
)


def draft(request: DraftRequest) -> list[Choice]:
    """Return the choices for a folder of pictures and a pair of networks."""
    pooled = "its pooled features, which are its embedding"
    return [
        *([] if request.dataset in SMALL else photograph_choices(request)),
        Choice("student_layer", "", "guessed", pooled),
        Choice("teacher_layer", "", "guessed", pooled),
        *feature_choices(request),
        *schedule_choices(request, 256 if request.is_cuda else 64),
    ]
