"""The contract suites: one pytest class for each contract that a provider can fill, ours and everybody else's.

A provider's test inherits the class of its contract, and that of each of its capabilities, and gives the fixtures that
the class's docstring names; `workspace` gives them a workspace. Needs pytest, and nothing of the repository's tests.
"""
