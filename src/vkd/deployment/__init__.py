"""Networks as files that run without this package: written, checked, quantised and described."""
