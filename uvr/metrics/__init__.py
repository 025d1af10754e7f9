"""Metrics: what is counted and measured, and the totals over all processes."""
