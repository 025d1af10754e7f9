"""Commands for the shell: `python -m uvr separate`, which needs no service, and `python -m uvr dead` for operators."""
