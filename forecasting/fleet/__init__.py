"""Networks of a fleet, their training and their forecasts; the only room that uses torch."""
