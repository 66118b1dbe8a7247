"""The ViDT detectors: body, neck, heads, and their checkpoints."""
