"""Writes what the Helm chart repeats of other files: the types of the settings, and the description of the values."""
