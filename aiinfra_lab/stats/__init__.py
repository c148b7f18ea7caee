"""Statistics that several nouns share: bounds, a canary beside its champion, and tests of two samples by blocks."""
