"""What is examined beside style and types: ``python -m examine``, the later half of ``make check``.

Enters: the two kinds of lock files (Python's and npm's), the files that git knows, the engine's lock. Leaves: what was
found, and ``sbom.json``. ``audits`` asks advisory databases about locked packages; ``credentials`` looks for keys and
passwords in files; ``packages`` knows what an installation brings and under which licence; ``bill`` writes it down.
Where a database cannot be reached that is said and passes; what is found fails. Nothing here ships.
"""
