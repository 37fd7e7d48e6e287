"""What `make check` examines: the audits tell a weakness from a silent database, and nothing planted stays unseen."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from examine import engine_licences
from examine.audits import Audit, audit_npm, audit_python, of_pip_audit
from examine.bill import LOCK, SBOM, bill, engine_components, python_components
from examine.code import find_weak_code
from examine.credentials import Credential, find_credentials
from examine.packages import ROOT, licences, runtime_needs

from headrace.local.artifacts import Artifact, locked
from support.advisories import advisories

SOURCE = ROOT / "src"
WEAK = "GHSA-462w-v97r-4m45"
JINJA = {("jinja2", "2.4.1"): WEAK}
MINIMIST = {("minimist", "0.0.8"): "GHSA-xvch-5gv4-984h"}
NOBODY = "http://127.0.0.1:9"

needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="no npm on this machine")


# -- audits -----------------------------------------------------------------------------------------------


@pytest.fixture
def python_lock(tmp_path: Path) -> Path:
    """Two pins, one of them with a weakness that everybody knows."""
    lock = tmp_path / "requirements.lock"
    lock.write_text("jinja2==2.4.1\nidna==3.20\n")
    return lock


@pytest.fixture
def npm_lock(tmp_path: Path) -> Path:
    """As npm writes it, with such a package too."""
    folder = tmp_path / "page"
    folder.mkdir()
    package = {"name": "page", "version": "1.0.0", "dependencies": {"minimist": "0.0.8"}}
    (folder / "package.json").write_text(json.dumps(package))
    packages = {"": package, "node_modules/minimist": {"version": "0.0.8", "license": "MIT"}}
    lock = folder / "package-lock.json"
    lock.write_text(json.dumps({**package, "lockfileVersion": 3, "requires": True, "packages": packages}))
    return lock


def test_a_weak_python_package_fails(python_lock: Path) -> None:
    with advisories(JINJA) as url:
        found = audit_python(python_lock, osv_url=url)
    assert found.lines == (f"jinja2 2.4.1: {WEAK}; mended in: 3.1.6",)
    assert found.end == "weak"
    assert found.fails(strict=False)


def test_an_accepted_weakness_passes(python_lock: Path) -> None:
    with advisories(JINJA) as url:
        assert audit_python(python_lock, [WEAK], url).end == "clean"


def test_packages_without_a_known_weakness_pass(python_lock: Path) -> None:
    with advisories({}) as url:
        found = audit_python(python_lock, osv_url=url)
    assert (found.end, found.lines) == ("clean", ())


def test_a_database_that_cannot_be_reached_is_skipped_with_the_reason(python_lock: Path) -> None:
    found = audit_python(python_lock, osv_url=NOBODY)
    assert found.end == "skipped"
    assert "Connection" in found.lines[0]
    assert not found.fails(strict=False)
    assert found.fails(strict=True)


def test_pypi_out_of_reach_is_skipped_too(python_lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", NOBODY)
    assert audit_python(python_lock).end == "skipped"


def test_a_database_that_answers_with_an_error_is_skipped(python_lock: Path) -> None:
    with advisories(JINJA, status=503) as url:
        assert audit_python(python_lock, osv_url=url).end == "skipped"


def test_a_lock_that_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("jinja2>=2\n")
    with advisories({}) as url:
        found = audit_python(lock, osv_url=url)
    assert (found.end, found.fails(strict=False)) == ("broken", True)


def test_an_index_that_knows_none_of_the_packages_vouches_for_none() -> None:
    unknown = {"name": "jinja2", "skip_reason": "Dependency not found on PyPI"}
    known = {"name": "idna", "version": "3.20", "vulns": []}
    assert of_pip_audit({"dependencies": [unknown]})[0] == "skipped"
    assert of_pip_audit({"dependencies": [unknown, known]}) == ("clean", ["jinja2: unknown to the database"])


@needs_npm
def test_a_weak_npm_package_fails(npm_lock: Path) -> None:
    with advisories(MINIMIST) as url:
        found = audit_npm(npm_lock, registry=url)
        accepted = audit_npm(npm_lock, MINIMIST.values(), url)
    assert found.end == "weak"
    assert "minimist <=0.0.8: critical" in found.lines[0]
    assert accepted.end == "clean"


@needs_npm
def test_npm_without_a_weak_package_passes(npm_lock: Path) -> None:
    with advisories({}) as url:
        assert audit_npm(npm_lock, registry=url).end == "clean"


@needs_npm
def test_npm_without_an_answer_is_skipped_and_without_a_lock_it_fails(npm_lock: Path) -> None:
    assert audit_npm(npm_lock, registry=NOBODY).end == "skipped"
    npm_lock.unlink()
    with advisories({}) as url:
        assert audit_npm(npm_lock, registry=url).end == "broken"


def test_a_machine_without_npm_is_told_so(npm_lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(npm_lock.parent))
    found = audit_npm(npm_lock)
    assert found == Audit(
        "npm packages of page/package-lock.json", "skipped", ("there is no npm on this machine",)
    )


# -- code -------------------------------------------------------------------------------------------------


def test_weak_code_is_found_unless_its_line_says_why(tmp_path: Path) -> None:
    weak = tmp_path / "weak.py"
    weak.write_text("import hashlib\nhashlib.md5(b'')\nhashlib.md5(b'')  # nosec B324  # a checksum\n")
    found = find_weak_code(tmp_path, ROOT / "pyproject.toml")
    assert len(found) == 1
    assert re.search(r"weak\.py:2: B324, .*MD5", found[0])


def test_code_that_cannot_be_read_is_no_silence(tmp_path: Path) -> None:
    (tmp_path / "torn.py").write_text("def (\n")
    assert "torn.py" in find_weak_code(tmp_path, ROOT / "pyproject.toml")[0]


def test_no_line_is_left_out_for_everything() -> None:
    blanket = re.compile(r"# nosec(?! B\d{3}\b)")
    assert not [p.name for p in SOURCE.rglob("*.py") if blanket.search(p.read_text("utf-8"))]


def test_asserts_only_narrow_types() -> None:
    # bandit leaves asserts out for this: without them (python -O) the same lines fail just as well.
    asserts = [
        ast.unparse(node.test)
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Assert)
    ]
    assert asserts
    assert not [text for text in asserts if not re.search(r"^isinstance\(| is not None$", text)]


# -- credentials ------------------------------------------------------------------------------------------

# Put together here, for this file is looked through as well.
AWS = "AKIA" + "Q3EGRIUXY7ZTMB5D"
PEM = "-----BEGIN " + "RSA PRIVATE KEY-----"
WORD = "pass" + "word"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An empty git working tree."""
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    return tmp_path


def planted(tree: Path, files: dict[str, str]) -> list[Credential]:
    """What is found once the files are there and known to git."""
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    subprocess.run(["git", "add", "--all"], cwd=tree, check=True)
    return find_credentials(tree)


def test_keys_are_found_wherever_they_are(tree: Path) -> None:
    found = planted(
        tree, {"src/a.py": f"x = 1\nkey = '{AWS}'\n", "tests/b.pem": PEM, "openapi-swagger.json": f'"{AWS}"'}
    )
    assert {(one.file, one.line, one.kind) for one in found} == {
        ("src/a.py", 2, "AWS Access Key"),
        ("tests/b.pem", 1, "Private Key"),
        ("openapi-swagger.json", 1, "AWS Access Key"),
    }
    assert AWS not in "".join(map(str, found))


def test_passwords_are_found_in_the_program_but_not_in_tests(tree: Path) -> None:
    line = f"{WORD} = 'hunter2'\n"
    found = planted(tree, {"src/a.py": line, "deploy/values.yaml": f"{WORD}: hunter2x\n", "tests/b.py": line})
    assert [one.file for one in found] == ["deploy/values.yaml", "src/a.py"]


def test_a_new_file_is_looked_at_before_git_has_it_but_an_ignored_one_is_not(tree: Path) -> None:
    planted(tree, {".gitignore": "kept.env\n"})
    for name in ("new.env", "kept.env"):
        (tree / name).write_text(f"KEY={AWS}\n")
    assert [one.file for one in find_credentials(tree)] == ["new.env"]


def test_digests_and_lines_that_say_so_are_left_out(tree: Path) -> None:
    digest = json.dumps({"content": hashlib.sha256(b"anything").hexdigest()})
    files = {
        "sbom.json": digest,
        "other.json": digest,
        "src/a.py": f"{WORD} = 'changed'  # pragma: allowlist secret\n",
    }
    assert [(one.file, one.kind) for one in planted(tree, files)] == [
        ("other.json", "Hex High Entropy String")
    ]


# -- the bill of materials ----------------------------------------------------------------------------------


def test_the_bill_is_not_stale() -> None:
    assert SBOM.read_text("utf-8") == bill(), "run: make sbom"


def test_the_bill_is_cyclonedx_1_6() -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(SBOM.read_text("utf-8")) is None


def test_the_bill_lasts_and_names_no_machine_and_no_registry() -> None:
    text = SBOM.read_text("utf-8")
    made = json.loads(text)
    assert "serialNumber" not in made
    assert set(made["metadata"]) == {"component"}
    assert not re.findall(r"https?://|/(?:home|root|tmp|work)/", text.replace(made["$schema"], ""))


def test_the_bill_names_all_that_ships_with_licence_and_digest() -> None:
    components = json.loads(SBOM.read_text("utf-8"))["components"]
    urls = {one["purl"] for one in components}
    assert len(urls) == len(components) == len(python_components()) + len(engine_components())
    assert {one["name"] for one in components} >= set(runtime_needs())
    assert len(engine_components()) == sum(map(len, locked().values()))
    for one in components:
        assert one["hashes"], one["purl"]
        assert all("name" not in each.get("license", {}) for each in one["licenses"]), one["purl"]


def test_the_bill_names_what_packages_carry_inside() -> None:
    components = json.loads(SBOM.read_text("utf-8"))["components"]
    inside = next(one["components"] for one in components if one["name"] == "fastapi-offline")
    assert {one["name"]: one["licenses"][0]["license"]["id"] for one in inside} == {
        "swagger-ui-dist": "Apache-2.0",
        "redoc": "MIT",
    }


def test_a_changed_digest_makes_another_bill_and_a_missing_pin_none(tmp_path: Path) -> None:
    text = LOCK.read_text("utf-8")
    lock = tmp_path / "requirements.lock"
    lock.write_text(re.sub(r"(alembic==.*\n.*sha256:)\w+", rf"\g<1>{'0' * 64}", text, count=1))
    changed = [
        old.name for old, new in zip(python_components(), python_components(lock), strict=True) if old != new
    ]
    assert changed == ["alembic"]
    lock.write_text(text.replace("alembic==", "alembick==", 1))
    with pytest.raises(KeyError, match="alembic"):
        python_components(lock)


def test_every_licence_is_known() -> None:
    assert "?" not in licences().values()
    unseen = Artifact("org.unseen", "thing", "1", "jar", "", 1, "0" * 64)
    with pytest.raises(KeyError, match=r"org\.unseen:thing"):
        engine_licences.engine_licence(unseen)
