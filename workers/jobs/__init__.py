"""Jobs: each reads from the store, computes on Ray actors and ends in one commit per table."""
