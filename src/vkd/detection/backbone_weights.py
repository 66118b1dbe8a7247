"""ImageNet weights for a detector's body to start from."""

from vkd.errors import UserError, shortened
from vkd.models import HUB, create_model
from vkd.models.checkpoints import FittedWeights, read_checkpoint
from vkd.models.vidt.checkpoint import body_weights
from vkd.models.vidt.detector import ViDT, ViDTWithoutNeck
from vkd.models.vidt.variants import BACKBONES
from vkd.notes import say


def load_backbone(model: ViDT | ViDTWithoutNeck, name: str, checkpoint: str) -> None:
    """Load weights of Swin or CoaT-lite into the body of a detector.

    Args:
        model: the detector.
        name: of the detector.
        checkpoint: a file with the names of timm or of the backbone's own release; or ``hub`` for
            timm's weights.

    Raises:
        UserError: if timm publishes none of its size, or a file does not fit.
        RunError: if the hub cannot be reached.
    """
    body = model.backbone
    expected = body.state_dict()
    if checkpoint == HUB:
        if name not in BACKBONES:
            raise UserError(f"timm publishes no backbone of {name}'s size; name a file.")
        found = FittedWeights(create_model(BACKBONES[name], HUB).state_dict(), [])
    else:
        found = read_checkpoint(checkpoint).fitted(expected)
    weights = body_weights(found.state)
    own = [key for key in expected if ".det_pos_linear." in key or key.startswith(body.added)]
    wrong = [key for key in expected if key not in weights and key not in own]
    wrong += [
        key for key in weights
        if key not in expected or expected[key].shape != weights[key].shape
    ]  # fmt: skip
    if wrong:
        raise UserError(
            f"{shortened(checkpoint, 100)} does not fit {name}: {len(wrong)} of the "
            f"{len(expected)} tensors of its body are missing or others: {', '.join(wrong[:2])}."
        )
    body.load_state_dict(weights, strict=False)
    say(checkpoint, found.notes)
