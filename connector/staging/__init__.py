"""What one snapshot changes in the state file, in one transaction."""
