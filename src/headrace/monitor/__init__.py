"""Watching what runs: samples of pipelines and of this process, logs gathered, old ones swept away.

Enters: what the store and the operating system tell. Leaves: series and figures for the faces, rows in the store. It
changes no pipeline.
"""
