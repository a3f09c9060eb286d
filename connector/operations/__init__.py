"""What the verbs answer, as data; the command line prints it, and so will the web console."""
