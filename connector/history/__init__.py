"""Past changes: read, explained, replayed."""
