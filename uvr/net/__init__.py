"""The network: which hosts may be reached, how settings name them, and what an HTTP status means for a retry."""
