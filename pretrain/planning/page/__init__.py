"""A plan as one HTML page, with its pictures."""
