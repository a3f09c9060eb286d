"""What the verbs find out, as data: the command line prints it, and a web console can show the same."""
