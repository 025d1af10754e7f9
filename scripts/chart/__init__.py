"""Writes what the Helm chart repeats of other files: types of settings, descriptions of values, and the alerts."""
