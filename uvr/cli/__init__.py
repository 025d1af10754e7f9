"""The commands of the command line, one module each.

`submit`, `status`, `list` and `cancel` are clients of a running service. `separate` needs no service. `dead` and
`doctor` are for operators.
"""
