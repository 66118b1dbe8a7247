"""A teacher's outputs on disk: written once, then found by row; no network is needed any more."""
