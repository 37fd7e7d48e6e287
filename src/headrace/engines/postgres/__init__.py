"""PostgreSQL 13 to 18, as source and as target.

Files follow the flow: connection, catalog, types, ddl, checks, capture, cut, read, write, merge, events.
"""
