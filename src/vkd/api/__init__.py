"""What Python and the command line call, one verb a file."""
