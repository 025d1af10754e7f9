"""What the uploader clears away beside its work: what nobody owns any more, and what has been kept long enough."""
