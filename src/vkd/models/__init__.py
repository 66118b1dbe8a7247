"""Models by name (ours and timm's, with which ours are registered) and their checkpoints."""

from vkd.models.checkpoints import load_checkpoint
from vkd.models.factory import HUB, check_name, create_model, last_layer, our_models

__all__ = ["HUB", "check_name", "create_model", "last_layer", "load_checkpoint", "our_models"]
