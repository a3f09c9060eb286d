"""One poll, and what brings state file and Kafka into line."""
