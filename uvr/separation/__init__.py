"""Splitting a mixture into stems: the engines, and the child processes that they run in."""
