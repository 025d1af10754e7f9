"""Commands for the shell that need neither the service nor Redis, and what commands show while they work."""
