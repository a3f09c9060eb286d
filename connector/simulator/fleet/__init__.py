"""The devices, what they run, and how a record is written."""
