"""What is examined beside style and types: ``python -m examine``, the later half of ``make check``.

Enters: the program's code, the lock files of Python, npm and the engine, the files that git knows. Leaves: what was
found, and ``sbom.json``. ``code`` has bandit read the program; ``audits`` asks advisory databases about locked packages;
``credentials`` looks for keys and passwords in files; ``packages`` and ``engine_licences`` know what an installation
brings and under which licence; ``bill`` writes it down. A database that cannot be reached is said and passes; what is
found fails. Nothing here ships, and nothing here changes a file but ``sbom.json``.
"""
