"""Authentication: Basic Auth, the users file, rate limits, and the client's address."""
