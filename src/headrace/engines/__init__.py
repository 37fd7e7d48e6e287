"""Engines: one folder per database, each a plug-in behind the same words (``model``).

What enters: a connection and neutral words. What leaves: neutral words and moved bytes. An engine imports no
other engine, and nothing outside this room asks which engine it talks to.
"""
