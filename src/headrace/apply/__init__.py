"""Apply: from Kafka's records to the target's rows, exactly once.

Enters: records of one topic per table, read committed, and the table's progress. Leaves: one transaction per
batch in the target that holds the data and the new progress. This room never asks Kafka where it was: progress
in the target alone says so. It must not skip an event it cannot apply.
"""
