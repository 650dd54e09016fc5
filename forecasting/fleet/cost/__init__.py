"""The predicted cost of training and prediction in seconds and bytes, without torch."""
