"""What lists of rows have in common: the patterns that filter them, and their pages."""
