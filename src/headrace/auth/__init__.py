"""Who may do what: users, sessions, API tokens, tokens of other issuers, roles.

Enters: what a request carries to prove who it is. Leaves: a ``Principal`` with its permissions, or Denied. The one table
of rights is ``rights``. It knows no HTTP framework and no pipelines.
"""
