"""Whatever dies on the way: the whole stack as real processes, killed at random while it works, and judged by id.

python -m tests.chaos [--tasks 300] [--kills 60] [--seed N]

plan        what a run is going to do, drawn from its seed before it begins
songs       the audio of a task, and whether two stems are made of it
hosts       the audio host and the receivers of webhooks, which misbehave as planned
proxy       the network in front of Redis, S3 and the hosts, which can be cut, refused and delayed
supervised  a process that is started again whenever it ends
stack       all of it together
client      submits the songs
striker     deals the blows
evidence    what is there afterwards
checks      what of it breaks a promise
run         one run from its seed to its figures
"""
