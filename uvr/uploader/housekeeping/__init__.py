"""What the uploader deletes regularly: what no task owns any more, and what was kept long enough."""
