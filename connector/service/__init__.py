"""Polls for ever: threads, schedule, health, metrics."""
