"""Plots and self-contained HTML reports of run folders."""
