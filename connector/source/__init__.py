"""From a token to one complete, verified snapshot on disk."""
