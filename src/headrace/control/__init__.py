"""Control: the reconciler of a pipeline, and the use cases that every face calls.

Enters: what is wanted (the store) and what is there (source, target, Kafka, Connect). Leaves: the next step that can be
repeated, and states, logs and findings in the store. ``runner`` is the loop, ``loading`` one load from hold to live,
``generation`` what capture is made of, ``evolve`` and ``drift`` what follows a changed table, ``cases`` the use cases.
It moves no row itself, and no step relies on an earlier one not having been interrupted.
"""
