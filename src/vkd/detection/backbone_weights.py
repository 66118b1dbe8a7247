"""ImageNet weights for a detector's body to start from."""

from vkd.errors import UserError
from vkd.models import HUB, create_model
from vkd.models.checkpoints import read_checkpoint
from vkd.models.vidt.checkpoint import body_weights
from vkd.models.vidt.detector import ViDT, ViDTWithoutNeck
from vkd.models.vidt.variants import BACKBONES


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
    if checkpoint == HUB:
        if name not in BACKBONES:
            raise UserError(f"timm publishes no backbone of {name}'s size; name a file.")
        published = create_model(BACKBONES[name], HUB).state_dict()
    else:
        published = read_checkpoint(checkpoint).state
    weights = body_weights(published)
    body = model.backbone
    expected = body.state_dict()
    own = [key for key in expected if ".det_pos_linear." in key or key.startswith(body.added)]
    wrong = [key for key in expected if key not in weights and key not in own]
    wrong += [
        key for key in weights
        if key not in expected or expected[key].shape != weights[key].shape
    ]  # fmt: skip
    if wrong:
        raise UserError(f"{checkpoint} does not fit {name}: {', '.join(wrong[:5])}.")
    body.load_state_dict(weights, strict=False)
