"""Separating a mixture into stems: the models, the engines that run them, and the child process they run in."""
