"""Preflight: runs every check of a pipeline and gathers every finding, never the first only.

What enters: thunks that check one side each (an engine's ``check``, ``log.kafka``, ``log.connect``). What
leaves: ``errors.Finding``, errors first, each with what mends it. This room changes nothing, and knows no
engine: what is wrong with a database is found in the engine's own room.
"""
