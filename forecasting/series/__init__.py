"""Series as frames and arrays: read, validate, put on a grid, describe by the calendar, cut into windows (Polars)."""
