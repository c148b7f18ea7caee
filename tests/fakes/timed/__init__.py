"""A noun whose things took the time that a test says."""
