"""Everything that runs on a Ray cluster, or asks one to."""
