"""One poll, and what brings the state file and Kafka into line."""
