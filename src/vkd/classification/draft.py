"""What ``vkd init`` writes of classification."""

from vkd.data.catalogue import SMALL
from vkd.training.drafting import (
    Choice,
    DraftRequest,
    feature_choices,
    layer_choices,
    photograph_choices,
    schedule_choices,
)


def draft(request: DraftRequest) -> list[Choice]:
    """Return the choices for a folder of labelled pictures and a pair of networks."""
    return [
        *([] if request.dataset in SMALL else photograph_choices(request)),
        *layer_choices(request),
        *feature_choices(request),
        _logits(request),
        *schedule_choices(request, 256 if request.is_cuda else 64),
    ]


def _logits(request: DraftRequest) -> Choice:
    known, own = set(request.teacher_classes), set(request.classes)
    if known and known == own:
        reason = "the teacher's weights name the classes of the data; 1 as in the paper"
        return Choice("logit_weight", 1.0, "found", reason)
    reason = (
        "the teacher's weights name other classes"
        if known
        else ("the teacher's weights name no classes")
    )
    text = f"{reason}, and logits are compared between equal ones alone"
    return Choice("logit_weight", 0.0, "found", text)
