"""Metrics: their definitions, and their sums over all processes."""
