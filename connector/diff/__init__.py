"""Previous and current -> changes, in SQL made from the fields. Writes temporary tables only."""
