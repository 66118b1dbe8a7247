"""The checks of ``benchmarks/gpu.py``, a file each; see ``catalogue``."""
