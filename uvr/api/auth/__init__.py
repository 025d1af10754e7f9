"""Authentication: Basic Auth, bearer tokens, the users file, rate limits, and the client's address."""
