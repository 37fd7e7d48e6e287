"""Plan: what a spec means for the tables that are there.

Enters: a pipeline's spec and tables as an engine described them. Leaves: routes, one per table: where it goes, which
columns travel and how, its key, mask and filter. Pure: asks no server and changes nothing; it refuses what no route
could carry out.
"""
