"""Licence of each artifact of the engine's lock, which has none itself; NOTICE says the same in prose.

Taken from the artifacts' own POMs and manifests.
"""

from __future__ import annotations

from headrace.local.artifacts import Artifact

_APACHE = "Apache-2.0"
_GPL_CPE = "GPL-2.0-only WITH Classpath-exception-2.0"
_ECLIPSE = f"EPL-2.0 OR {_GPL_CPE}"

# Beginnings of ``group:artifact``; the longest that fits holds.
_LICENCES = {
    "at.yawk.lz4:": _APACHE,
    "com.dynatrace.hash4j:": _APACHE,
    "com.fasterxml.jackson.": _APACHE,
    "com.github.ben-manes.caffeine:": _APACHE,
    "com.github.luben:zstd-jni": "BSD-2-Clause",
    "com.google.re2j:": "BSD-3-Clause",
    "com.sun.activation:jakarta.activation": "BSD-3-Clause",
    "com.typesafe.scala-logging:": _APACHE,
    "com.yammer.metrics:": _APACHE,
    "commons-": _APACHE,
    "io.debezium:": _APACHE,
    "io.github.classgraph:": "MIT",
    "io.prometheus.jmx:": _APACHE,
    "io.swagger.core.v3:": _APACHE,
    "io.zonky.test.postgres:": "PostgreSQL",
    "jakarta.activation:": "BSD-3-Clause",
    "jakarta.annotation:": _ECLIPSE,
    "jakarta.inject:": _APACHE,
    "jakarta.servlet:": _ECLIPSE,
    "jakarta.validation:": _APACHE,
    "jakarta.ws.rs:": _ECLIPSE,
    "jakarta.xml.bind:": "BSD-3-Clause",
    "javax.activation:activation": "CDDL-1.0",
    "javax.activation:javax.activation-api": f"CDDL-1.1 OR {_GPL_CPE}",
    "javax.xml.bind:": f"CDDL-1.1 OR {_GPL_CPE}",
    "net.sf.jopt-simple:": "MIT",
    "net.sourceforge.argparse4j:": "MIT",
    "org.apache.": _APACHE,
    "org.bitbucket.b_c:": _APACHE,
    "org.codehaus.plexus:": _APACHE,
    "org.eclipse.jetty": f"EPL-2.0 OR {_APACHE}",
    "org.glassfish.": _ECLIPSE,
    "org.hdrhistogram:": "CC0-1.0 OR BSD-2-Clause",
    "org.javassist:": f"MPL-1.1 OR LGPL-2.1-or-later OR {_APACHE}",
    "org.jspecify:": _APACHE,
    "org.pcollections:": "MIT",
    "org.scala-lang:": _APACHE,
    "org.slf4j:": "MIT",
    "org.xerial.snappy:": _APACHE,
    "org.yaml:": _APACHE,
}


def engine_licence(artifact: Artifact) -> str:
    """SPDX expression of an artifact; KeyError for one that nobody looked at yet."""
    name = f"{artifact.group}:{artifact.artifact}"
    fitting = [beginning for beginning in _LICENCES if name.startswith(beginning)]
    if not fitting:
        raise KeyError(f"examine/engine_licences.py has no licence for {name}: look it up in its POM")
    return _LICENCES[max(fitting, key=len)]
