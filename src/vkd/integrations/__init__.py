"""Distillation inside other libraries' training loops: timm, Lightning and transformers."""
