"""Distillation methods, one file each; ``catalogue`` lists them by name."""
