"""Redis apart from the queue: connections, scripts, errors, and what the server must and does guarantee."""
