"""Statistics that several nouns share: bounds judged on counts, and tests of two samples by blocks of rows."""
