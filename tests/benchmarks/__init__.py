"""Figures: what `make bench` measures. A row of a table of figures is one function in the file of its group."""
