"""Ray: a local head, actors, shards and progress."""
