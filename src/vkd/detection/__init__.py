"""Object detection: a ViDT alone, or distilled from the tokens of a larger one."""
