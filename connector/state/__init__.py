"""The state file: its engine, its tables, its rows."""
