"""Capture: Debezium on Kafka Connect, seen from outside.

Enters: a connector's configuration, rendered by an engine. Leaves: a connector that streams, topics with one
partition per table, markers seen to come out of Kafka. This room never reads a table and never applies one.
"""
