"""What the command line shows of the past."""
