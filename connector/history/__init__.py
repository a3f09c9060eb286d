"""Past changes: asked for, explained, replayed."""
