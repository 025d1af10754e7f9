"""The loop around every handler: claim, heartbeat, handle, acknowledge, retry, shut down."""
