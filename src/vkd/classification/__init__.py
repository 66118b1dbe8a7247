"""Image classification: a student alone, or distilled from logits, features or both."""
