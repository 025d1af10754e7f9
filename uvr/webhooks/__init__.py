"""Webhooks: their payloads, signatures, delivery attempts and retry schedule."""
