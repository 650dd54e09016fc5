"""One network trained on all series, and the ways in which a series' own network begins from it."""
