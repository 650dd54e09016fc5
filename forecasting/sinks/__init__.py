"""Copy the newest forecasts of a spec to where people read them: a database, a Delta table or a file."""
