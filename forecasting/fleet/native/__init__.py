"""The CPU engine: C that runs recurrences, whole training steps and forecasts; `library` is its door to Python."""
