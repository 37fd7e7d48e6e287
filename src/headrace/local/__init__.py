"""The embedded engine: Kafka, Kafka Connect with Debezium, and PostgreSQL servers for demo and tests.

In comes a data folder and ports; out come running processes that die with us. ``fetch`` downloads and verifies
what ``engine.lock`` lists; ``kafka``, ``connect`` and ``postgres`` render configurations and describe services;
``stack`` runs the engine alone, ``supervise`` and ``detach`` a whole installation; ``installation`` says what runs.
It knows nothing of pipelines, and only faces import it.
"""
