"""The committed lock is complete, well-formed, and names no registry."""

import pytest

from headrace.errors import NotFound
from headrace.local.artifacts import LOCK, Artifact, locked, of_groups


def test_every_group_is_there() -> None:
    assert {"kafka", "debezium-postgres", "jdbc", *(f"postgres-{n}" for n in range(13, 19))} <= set(locked())


def test_no_address_in_the_lock() -> None:
    assert "://" not in LOCK.read_text()


@pytest.mark.parametrize("group", sorted(locked()))
def test_entries_are_whole(group: str) -> None:
    for artifact in locked()[group]:
        assert artifact.size > 0
        assert len(bytes.fromhex(artifact.sha256)) == 32


def test_one_version_of_each_jar() -> None:
    jars = [(a.group, a.artifact) for a in locked()["kafka"]]
    assert len(jars) == len(set(jars))


def test_maven_layout() -> None:
    plugin = Artifact("io.debezium", "x", "1.0", "tar.gz", "plugin", 1, "00")
    assert plugin.path == "io/debezium/x/1.0/x-1.0-plugin.tar.gz"


def test_unknown_group() -> None:
    with pytest.raises(NotFound):
        of_groups(["nothing"])
