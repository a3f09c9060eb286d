"""The verbs of the first hour: `init`, `simulate`, and the keys of a terminal."""
