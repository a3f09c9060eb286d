"""Polls until stopped: threads, schedule, health, metrics, probes."""
