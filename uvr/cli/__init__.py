"""Commands for the shell, one module each.

`submit`, `status`, `list` and `cancel` are clients of a running service; `separate` needs none; `dead` and `doctor` are
for its operators.
"""
