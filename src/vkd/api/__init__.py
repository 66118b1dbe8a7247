"""What Python and the command line call: train, evaluate, predict, cache, export, convert, compare."""
