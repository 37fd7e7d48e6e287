"""The use cases around Kafka Connect's connectors: any connector's whole life, its secrets kept out of Connect."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from headrace.capture.hiding import Folder, is_here, masked, moved, plain_secrets, redacted
from headrace.capture.rest import Rest, part
from headrace.errors import Conflict, HeadraceError, Invalid, NotFound, Precondition
from headrace.secrecy import MASK
from headrace.settings import Settings
from headrace.spec.secrets import secret_needed
from headrace.store import Store
from headrace.store.base import require_version

JSON = dict[str, Any]
_CLASS = "connector.class"
_TOPICS = "topic.creation.default."
# Its web server refuses paths that hold these, however they are encoded.
_UNASKABLE = frozenset("/%\\;")
_STOP_SECONDS = 10.0
_TYPES_SECONDS = 300.0


class Connectors:
    """One object per process; threads may share it. Answers are JSON forms without secrets."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._store, self._settings = store, settings
        self._rest = Rest(settings.connect, settings.connect_security)
        self._folder = Folder(settings.connect_secrets) if settings.connect_secrets else None
        self._passwords: dict[str, tuple[float, frozenset[str]]] = {}

    def close(self) -> None:
        """Give back connections."""
        self._rest.close()

    # --- reading

    def listed(self) -> list[JSON]:
        """All connectors with type, class, states, and the pipeline each belongs to."""
        found = self._rest.get("/connectors", expand=["info", "status"]) or {}
        owners = self._store.connector_owners()
        return [_form(name, both, owners) for name, both in sorted(found.items())]

    def one(self, name: str) -> JSON:
        """One connector with its configuration; NotFound."""
        info = self._rest.get(f"/connectors/{part(name)}")
        # A connector that was just made has no state yet.
        status = self._status_or_none(name)
        form = _form(name, {"info": info, "status": status or {}}, self._store.connector_owners())
        return {**form, "config": self._shown(info["config"]), "version": _version(info["config"])}

    def version(self, name: str) -> str:
        """What tells one configuration of a connector from another; NotFound."""
        return _version(self._rest.get(f"/connectors/{part(name)}/config"))

    def status(self, name: str) -> JSON:
        """States of connector and tasks, traces without secrets; NotFound."""
        found = self._rest.get(f"/connectors/{part(name)}/status")
        return {"name": name, **_states(found), "type": found.get("type", "unknown")}

    def tasks(self, name: str) -> list[JSON]:
        """Its tasks with their configurations."""
        states = {t["id"]: t for t in self.status(name)["tasks"]}
        found = self._rest.get(f"/connectors/{part(name)}/tasks")
        return [
            {**states.get(t["id"]["task"], _absent(t["id"]["task"])), "config": self._shown(t["config"])}
            for t in found
        ]

    def offsets(self, name: str) -> list[JSON]:
        """``[{"partition", "offset"}]``."""
        found: list[JSON] = (self._rest.get(f"/connectors/{part(name)}/offsets") or {}).get("offsets", [])
        return found

    def plugins(self) -> list[JSON]:
        """Connectors that this cluster can run: class, type, version."""
        found: list[JSON] = self._rest.get("/connector-plugins")
        return [{"class": p["class"], "type": p["type"], "version": p.get("version")} for p in found]

    def validate(self, plugin: str, config: Mapping[str, str]) -> JSON:
        """What Connect says of a configuration: ``{"name", "error_count", "errors", "configs"}``, secrets masked.

        Invalid ``secret_reference`` for references to secrets that are kept here: they have to be sent.
        """
        # Connect wants a name as well, which says nothing here.
        given = {"name": "validated", _CLASS: plugin, **config}
        passwords = self._password_keys(plugin)
        if self._folder:
            # Connect logs in where the configuration says: no stored secret is for that, whoever's name it bears.
            self._folder.guard(given)
        found = self._rest.call("PUT", f"/connector-plugins/{part(plugin)}/config/validate", body=given)
        secrets = set(plain_secrets(given, passwords).values())
        # Connect answers with what references stand for.
        references = {k: v for k, v in given.items() if "${" in v}
        values = (c["value"] for c in found["configs"])
        secrets |= {v["value"] for v in values if v["value"] and v["name"] in references}
        configs = [_value(c, secrets, references) for c in found["configs"]]
        errors = {c["name"]: c["errors"] for c in configs if c["errors"]}
        return {
            "name": found["name"],
            "error_count": found["error_count"],
            "errors": errors,
            "configs": configs,
        }

    # --- changing

    def create(self, name: str, config: Mapping[str, str], state: str = "RUNNING") -> JSON:
        """A new connector; Conflict ``exists_already``, Invalid of Connect's validation, Precondition ``connect_secret``."""
        if set(name) & _UNASKABLE or name.startswith("."):
            raise Invalid(
                "bad_name", "Kafka Connect cannot be asked for such a name", "Leave /, %, \\ and ; out of it."
            )
        if config.get("name", name) != name:
            raise Invalid("name_differs", "The name in the configuration is another", "Leave it out there.")
        if self._config_or_none(name) is not None:
            raise Conflict("exists_already", f"There is a connector {name} already", "PUT its configuration.")
        hidden = self._making_topics(self._hidden(name, config, {}))
        body = {"name": name, "config": hidden, "initial_state": state}
        try:
            self._changing(config, lambda: self._rest.call("POST", "/connectors", body=body))
        except HeadraceError as error:
            # Whether it was made is not certain when the connection broke.
            if self._folder and error.kind != "unavailable":
                self._folder.drop(name)
            raise
        self._store.audit("connector", name, "created", new=self._shown(hidden))
        return self._until_known(name)

    def configure(self, name: str, config: Mapping[str, str], force: bool, known: str | None = None) -> JSON:
        """Replace the configuration of a connector, or make it. Conflict ``owned_by_pipeline`` unless ``force``.

        known: the ``version`` that it has to have now; Precondition ``stale``. Connect itself knows no condition: what
        changes between this look and the call is not seen.
        """
        self._refuse_owned(name, force)
        before = self._config_or_none(name)
        if before is None:
            return self.create(name, config)
        require_version(_version(before), known)
        if config.get("name", name) != name:
            raise Invalid("name_differs", "The name in the configuration is another", "Leave it out there.")
        hidden = self._making_topics(self._hidden(name, config, before))
        self._changing(
            config, lambda: self._rest.call("PUT", f"/connectors/{part(name)}/config", body=hidden)
        )
        if self._folder:
            self._folder.drop(name, keep=hidden.values())
        self._store.audit("connector", name, "updated", old=self._shown(before), new=self._shown(hidden))
        return self._until_known(name)

    def delete(self, name: str, force: bool, known: str | None = None) -> None:
        """Delete it, with its offsets left; Conflict ``owned_by_pipeline`` unless ``force``. known: as for ``configure``."""
        self._refuse_owned(name, force)
        before = self._rest.get(f"/connectors/{part(name)}/config")
        require_version(_version(before), known)
        self._rest.call("DELETE", f"/connectors/{part(name)}")
        if self._folder:
            self._folder.drop(name)
        self._store.audit("connector", name, "deleted", old=self._shown(before))

    def pause(self, name: str, force: bool) -> JSON:
        """Tasks rest and stay; Conflict ``owned_by_pipeline`` unless ``force``."""
        return self._want(name, "pause", force)

    def stop(self, name: str, force: bool) -> JSON:
        """Tasks end, configuration and offsets stay."""
        return self._want(name, "stop", force)

    def resume(self, name: str) -> JSON:
        """Run again."""
        return self._want(name, "resume", True)

    def restart(self, name: str, tasks: bool, only_failed: bool) -> JSON:
        """Restart the connector, with its (failed) tasks when told to."""
        params = {"includeTasks": str(tasks).lower(), "onlyFailed": str(only_failed).lower()}
        self._rest.call("POST", f"/connectors/{part(name)}/restart", params=params)
        self._store.audit("connector", name, "restarted", new={"tasks": tasks, "only_failed": only_failed})
        return self.status(name)

    def restart_task(self, name: str, task: int) -> JSON:
        """Restart one task."""
        self._rest.call("POST", f"/connectors/{part(name)}/tasks/{task}/restart")
        self._store.audit("connector", name, "task_restarted", new={"task": task})
        return self.status(name)

    def alter_offsets(self, name: str, offsets: list[JSON], force: bool) -> list[JSON]:
        """Set offsets of a stopped connector; Conflict ``not_stopped``, ``owned_by_pipeline``."""
        self._ready_for_offsets(name, force)
        before = self.offsets(name)
        self._rest.call("PATCH", f"/connectors/{part(name)}/offsets", body={"offsets": offsets})
        self._store.audit(
            "connector", name, "offsets_altered", old={"offsets": before}, new={"offsets": offsets}
        )
        return self.offsets(name)

    def reset_offsets(self, name: str, force: bool) -> None:
        """Forget the offsets of a stopped connector; Conflict ``not_stopped``, ``owned_by_pipeline``."""
        self._ready_for_offsets(name, force)
        before = self.offsets(name)
        self._rest.call("DELETE", f"/connectors/{part(name)}/offsets")
        self._store.audit("connector", name, "offsets_reset", old={"offsets": before})

    def _want(self, name: str, verb: str, force: bool) -> JSON:
        self._refuse_owned(name, force)
        self._rest.call("PUT", f"/connectors/{part(name)}/{verb}")
        self._store.audit("connector", name, verb)
        return self._until_known(name)

    def _ready_for_offsets(self, name: str, force: bool) -> None:
        self._refuse_owned(name, force)
        until = time.monotonic() + _STOP_SECONDS
        while (status := self.status(name))["connector"]["state"] == "STOPPED" and status["tasks"]:
            if time.monotonic() > until:
                break
            time.sleep(0.2)
        if status["connector"]["state"] != "STOPPED" or status["tasks"]:
            raise Conflict(
                "not_stopped",
                f"{name} is {status['connector']['state']} with {len(status['tasks'])} tasks",
                "Stop it first (PUT .../stop), then change its offsets.",
            )

    def _refuse_owned(self, name: str, force: bool) -> None:
        owner = None if force else self._store.connector_owners().get(name)
        if owner is not None:
            raise Conflict(
                "owned_by_pipeline",
                f"{name} belongs to the pipeline {owner}, which keeps it as it is",
                f"Stop, pause or delete the pipeline ({owner}), or say force=true and know why.",
                {"pipeline": owner},
            )

    # --- secrets

    def _hidden(self, name: str, config: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
        """The configuration with references for its secrets; a mask means what is there.

        Invalid ``secret_needed`` where that would go to another place than before.
        """
        if not config.get(_CLASS):
            # Connect would repeat the whole configuration, with secrets under names that nobody knows for secrets.
            raise Invalid(
                "no_connector_class", f"{_CLASS} is missing", "Name the plugin; see connector-plugins."
            )
        told = {k: before.get(k, "") if v == MASK else v for k, v in config.items()}
        passwords = self._password_keys(config.get(_CLASS, ""))
        if self._folder:
            self._folder.guard(told, before, passwords)
        kept = sorted(k for k, v in told.items() if v and v == before.get(k) and self._is_kept(config[k]))
        if places := moved(kept, told, before, passwords):
            raise secret_needed(places, kept)
        plain = plain_secrets(told, passwords)
        if not plain or (self._folder is None and self._settings.connect_plain_secrets):
            return told
        if self._folder is None:
            raise Precondition(
                "connect_secret",
                f"{', '.join(sorted(plain))}: a secret would stand in Connect's configuration, where its API shows it",
                "Write a reference of a ConfigProvider of this Connect, such as ${vault:path:key}.",
                {"settings": sorted(plain)},
            )
        return {**told, **{k: self._folder.put(name, k, v) for k, v in plain.items()}}

    def _is_kept(self, value: str) -> bool:
        """Whether a setting is sent as answers show a secret that is kept for it."""
        return value == MASK or (self._folder is not None and is_here(value))

    def _making_topics(self, config: dict[str, str]) -> dict[str, str]:
        """With topics as the broker makes them, for a source that says nothing of them: ours makes none by itself."""
        if self._folder is None or any(key.startswith("topic.creation.") for key in config):
            return config
        sources = {p["class"] for p in self.plugins() if p["type"] == "source"}
        if config[_CLASS] not in sources:
            return config
        return {**config, f"{_TOPICS}partitions": "-1", f"{_TOPICS}replication.factor": "-1"}

    def _shown(self, config: Mapping[str, str]) -> dict[str, str]:
        return masked(config, self._password_keys(config.get(_CLASS, "")))

    def _password_keys(self, plugin: str) -> frozenset[str]:
        """Settings that the plugin itself declares as passwords; none while that cannot be asked."""
        at = time.monotonic()
        kept = self._passwords.get(plugin)
        if kept is not None and at - kept[0] < _TYPES_SECONDS:
            return kept[1]
        if not plugin:
            return frozenset()
        try:
            told = self._rest.get(f"/connector-plugins/{part(plugin)}/config")
        except HeadraceError:
            return kept[1] if kept else frozenset()
        found = frozenset(d["name"] for d in told if d.get("type") == "PASSWORD")
        self._passwords[plugin] = (at, found)
        return found

    def _changing(self, config: Mapping[str, str], change: Callable[[], Any]) -> None:
        try:
            change()
        except HeadraceError as error:
            # Connect repeats values in what it says of them.
            secrets = plain_secrets(config, self._password_keys(config.get(_CLASS, ""))).values()
            error.message = redacted(error.message, list(secrets))
            raise

    # --- small looks

    def _config_or_none(self, name: str) -> dict[str, str] | None:
        try:
            found: dict[str, str] = self._rest.get(f"/connectors/{part(name)}/config")
        except NotFound:
            return None
        return found

    def _status_or_none(self, name: str) -> JSON | None:
        try:
            return self.status(name)
        except NotFound:
            return None

    def _until_known(self, name: str) -> JSON:
        """The connector once Connect tells of it: what was written has to come back to the worker that answers."""
        until = time.monotonic() + 5
        while True:
            try:
                return self.one(name)
            except NotFound:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)


def _version(config: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def _form(name: str, both: JSON, owners: Mapping[str, str]) -> JSON:
    info, status = both.get("info") or {}, both.get("status") or {}
    return {
        "name": name,
        "type": info.get("type") or status.get("type") or "unknown",
        "connector_class": (info.get("config") or {}).get(_CLASS, ""),
        "pipeline": owners.get(name),
        **_states(status),
    }


def _states(status: JSON) -> JSON:
    """States of a connector and its tasks, traces without the credentials of URLs."""
    tasks = [{"id": t["id"], **_state(t)} for t in status.get("tasks") or []]
    return {"connector": _state(status.get("connector") or {}), "tasks": tasks}


def _state(told: JSON) -> JSON:
    return {
        "state": told.get("state", "UNASSIGNED"),
        "worker_id": told.get("worker_id"),
        "trace": redacted(told["trace"], ()) if told.get("trace") else None,
    }


def _absent(task: int) -> JSON:
    return {"id": task, **_state({})}


def _value(config: JSON, secrets: set[str], references: Mapping[str, str]) -> JSON:
    value, definition = config["value"], config["definition"]
    secret = value["value"] is not None and (
        value["value"] in secrets or definition.get("type") == "PASSWORD"
    )
    return {
        "name": value["name"],
        "type": definition.get("type"),
        "required": bool(definition.get("required")),
        "default_value": definition.get("default_value"),
        "documentation": definition.get("documentation") or "",
        "group": definition.get("group"),
        "value": references.get(value["name"], MASK if secret else value["value"]),
        "recommended_values": value.get("recommended_values") or [],
        "errors": [redacted(e, secrets) for e in value.get("errors") or []],
        "visible": bool(value.get("visible", True)),
    }
