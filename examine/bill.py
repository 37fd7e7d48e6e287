"""The software bill of materials, ``sbom.json`` (CycloneDX 1.6): what ships, out of the two locks.

Python packages have the digests of requirements.lock, one for every file that may be installed; the engine's artifacts
have those of engine.lock. There is no time, no serial number and no address in it: the same locks make the same bill,
so a test can tell a stale one.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from examine.engine_licences import engine_licence
from examine.packages import ROOT, direct, licences, normal, runtime_needs
from headrace.local.artifacts import ENGINE, Artifact, locked

SBOM = ROOT / "sbom.json"
LOCK = ROOT / "requirements.lock"

_PINNED = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>\S+)(?P<hashes>(?:.*\\\n.*--hash=sha256:\w+)+)", re.MULTILINE
)
_DIGEST = re.compile(r"--hash=sha256:(\w+)")
# What fastapi-offline carries, and where its files say which version it is.
_INSIDE = (
    ("swagger-ui-dist", "Apache-2.0", "swagger-ui-bundle.js", r'PACKAGE_VERSION:"([\d.]+)"'),
    ("redoc", "MIT", "redoc.standalone.js", r'ReDoc Version: ","([\d.]+)"'),
)


def bill() -> str:
    """The text that sbom.json should have; KeyError names what a lock or a table of licences lacks."""
    python, engine = python_components(), engine_components()
    root = Component(
        name="headrace",
        version=_version(),
        type=ComponentType.APPLICATION,
        bom_ref="headrace",
        licenses=[LicenseFactory().make_from_string("Apache-2.0")],
    )
    bom = Bom(metadata=BomMetaData(component=root), components=[*python, *engine])
    for parent, children in _needs(python):
        bom.register_dependency(parent, children)
    bom.register_dependency(root, [*_named(python, direct()), *engine])
    return _lasting(JsonV1Dot6(bom).output_as_string())


def python_components(lock: Path = LOCK) -> list[Component]:
    """Every package of an installation as the lock has it; two of them where the lock has two versions."""
    words = licences()
    pinned = [found for found in _PINNED.finditer(lock.read_text("utf-8")) if normal(found["name"]) in words]
    if missing := set(words) - {normal(found["name"]) for found in pinned}:
        raise KeyError(f"requirements.lock lacks {', '.join(sorted(missing))}: run make lock")
    return [_python(normal(one["name"]), one["version"], words, one["hashes"]) for one in pinned]


def engine_components() -> list[Component]:
    """Every artifact of the engine's lock: always fetched, when asked for, or by tests only (by scope)."""
    return [_artifact(group, one) for group, artifacts in locked().items() for one in artifacts]


def _python(name: str, version: str, words: dict[str, str], hashes: str) -> Component:
    return _component(
        PackageURL("pypi", None, name, version),
        words[name].partition(" (the ")[0],
        _DIGEST.findall(hashes),
        components=_inside() if name == "fastapi-offline" else (),
    )


def _inside() -> Iterator[Component]:
    for name, words, file, pattern in _INSIDE:
        text = Path(
            str(distribution("fastapi-offline").locate_file(f"fastapi_offline/static/{file}"))
        ).read_text("utf-8")
        found = re.search(pattern, text)
        if found is None:
            raise KeyError(f"{file} of fastapi-offline does not say its version as expected")
        yield _component(PackageURL("npm", None, name, found[1]), words, ())


def _artifact(group: str, one: Artifact) -> Component:
    qualifiers = {"type": one.packaging} | ({"classifier": one.classifier} if one.classifier else {})
    return _component(
        PackageURL("maven", one.group, one.artifact, one.version, qualifiers),
        engine_licence(one),
        [one.sha256],
        scope=_scope(group),
        properties=[Property(name="headrace:group", value=group)],
    )


def _scope(group: str) -> ComponentScope:
    if group in ENGINE:
        return ComponentScope.REQUIRED
    return ComponentScope.EXCLUDED if group.startswith("postgres-") else ComponentScope.OPTIONAL


def _component(url: PackageURL, words: str, digests: Sequence[str], **more: Any) -> Component:
    return Component(
        name=url.name,
        group=url.namespace,
        version=url.version,
        purl=url,
        bom_ref=url.to_string(),
        type=ComponentType.LIBRARY,
        licenses=[LicenseFactory().make_from_string(words)],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in digests],
        **more,
    )


def _needs(components: Sequence[Component]) -> Iterator[tuple[Component, list[Component]]]:
    needs = runtime_needs()
    for one in components:
        yield one, list(_named(components, needs[one.name]))


def _named(components: Sequence[Component], names: Iterable[str]) -> Iterator[Component]:
    wanted = set(names)
    return (one for one in components if one.name in wanted)


def _lasting(text: str) -> str:
    """Without what is new at each run and without what the library says of itself; what kind of file it is comes first."""
    made = json.loads(text)
    for passing in ("timestamp", "tools"):
        made["metadata"].pop(passing, None)
    del made["serialNumber"]
    head = {key: made[key] for key in ("$schema", "bomFormat", "specVersion", "version", "metadata")}
    return json.dumps({**head, **made}, indent=1, ensure_ascii=False) + "\n"


def _version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"])
