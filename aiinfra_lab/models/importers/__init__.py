"""The formats of models that were trained somewhere else: one file each, the only one that imports its library."""
