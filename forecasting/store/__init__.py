"""Delta Lake tables, the model registry and read-only SQL."""
