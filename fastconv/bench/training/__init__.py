"""Whole epochs of the networks of `fastconv.models`: plain torch beside the trainer on a backend, in turns.

contestants.py  who trains, and how
worker.py       a contestant's own process
contest.py      the turns
results.py      what a run found
record.py       from loaded data to a tested network, in seconds
learned.py      the accuracies in runs' logs
files.py        all of these as files
table.py        the README's table, from results and the logs of training runs
cli.py          ``fastconv bench training``
"""
