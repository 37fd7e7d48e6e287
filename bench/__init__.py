"""The same work side by side with peers, in one run on one machine: ``python -m bench``.

Enters: a scale and a number of repetitions. Leaves: ``results.json`` (medians and every single run) and a table.
``ground`` is what all share: two PostgreSQL servers with equal settings, Kafka and Kafka Connect, Headrace's server
and worker. ``headrace_way``, ``native``, ``pipes`` and ``debezium_jdbc`` are the systems; ``works`` says what is
timed. A run whose target is not equal to its source fails the whole bench.
"""
