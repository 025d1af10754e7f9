"""Chaos test: the whole stack as real processes, killed at random under load; then every accepted task is checked.

python -m tests.chaos [--tasks 300] [--kills 60] [--seed N] [--pairs 1]

plan        the songs and disruptions of a run, drawn from its seed before it begins
songs       the audio of a task, and the check that two stems were made from it
hosts       the audio host and the receivers of webhooks, which misbehave as planned
proxy       the network to Redis, S3 and the hosts, whose connections can be cut, refused and delayed
supervised  a process that is restarted whenever it ends
stack       all of it together
client      submits the songs
disruptor   kills and freezes processes, breaks links
evidence    what is found in Redis, S3, logs and on disk afterwards
checks      which promises the evidence breaks
run         one run from its seed to its figures

antisocial  a user who does what stops a service for the others
fairness    what the others feel of it, in pairs of runs without and with that user
"""
