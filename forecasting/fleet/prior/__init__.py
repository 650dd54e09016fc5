"""One network trained on all series, and how each series' own network starts from it."""
