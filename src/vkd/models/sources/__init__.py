"""Where networks come from: a file a source, and ``catalogue`` that finds the source of a name."""
