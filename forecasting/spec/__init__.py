"""What to forecast and how to train it: specs, recipes, frequencies and schedules."""
