"""Tasks: their record, store, queues and final outcomes, and what clients and operators can do to them."""
