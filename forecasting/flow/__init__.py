"""The whole forecasting flow as functions: train, backtest, choose, predict and score."""
