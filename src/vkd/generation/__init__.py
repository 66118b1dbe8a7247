"""Image generation: adversarial losses, augmentation, frozen vision networks, metrics."""
