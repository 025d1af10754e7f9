"""Commands for the shell, one module each.

`submit`, `status`, `list` and `cancel` are clients of a running service; `separate` needs none, and `dead` is for its
operators.
"""
