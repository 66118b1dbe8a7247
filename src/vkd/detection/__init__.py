"""Object detection: matching, losses, distillation of tokens, metrics, pictures."""
