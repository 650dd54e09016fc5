"""Models that are not networks: naives, statistical models, and the combination of all models."""
