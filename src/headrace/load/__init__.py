"""Load: the bulk way. Tables of one snapshot, read in ranges by several workers, COPY passed through.

Enters: an open snapshot and the tables to fill. Leaves: filled, indexed, analysed tables and their row counts.
A range and its done-mark are one transaction in the target, so that a range is never written twice. Memory is
bounded by a block per worker, save single rows larger than that.
"""
