"""What training and prediction cost: seconds and bytes, predicted without loading torch."""
