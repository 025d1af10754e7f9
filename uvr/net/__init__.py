"""The network: which URLs may be reached, and what an HTTP status means for a retry."""
