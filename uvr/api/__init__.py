"""The HTTP API: endpoints, their schemas, authentication, and what all responses have in common."""
