"""Comparisons of methods: tuned on validation, paired differences on the test split."""
