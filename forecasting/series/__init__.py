"""Series as frames and arrays: read, validated, put on an even grid, with calendar features and categories."""
