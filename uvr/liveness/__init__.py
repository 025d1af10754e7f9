"""Which workers and nodes are alive, announced and read through Redis."""
