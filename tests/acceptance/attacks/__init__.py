"""Attacks on the running service by strangers and by greedy users, and what the others notice of them."""
