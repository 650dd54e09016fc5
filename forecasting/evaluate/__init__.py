"""Metrics, baselines, backtest and champion: frames and arrays in, frames out."""
