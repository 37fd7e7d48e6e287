"""All that is stored encrypted, by the current key again."""

from __future__ import annotations

from sqlalchemy import Column, select, update

from headrace.store.base import Part, Transaction
from headrace.store.pipelines import opened, sealed
from headrace.store.schema import alert_channels, connections, idempotency_keys, pipelines
from headrace.store.secrets import Cipher

SEALED: tuple[Column[str], ...] = (
    connections.c.secrets,
    alert_channels.c.secrets,
    idempotency_keys.c.answer,
)


class Rotating(Part):
    """Changing the key."""

    _cipher: Cipher

    def rotate_secrets(self) -> int:
        """Encrypt every secret with the first key, all or none; how many. Precondition ``secret_key``."""
        rotated = 0
        with self._writing() as transaction:
            for column in SEALED:
                keys = list(column.table.primary_key.columns)
                # "": the secrets of what was deleted.
                held = select(*keys, column.label("sealed")).where(column.is_not(None), column != "")
                for row in transaction.execute(held.with_for_update()).mappings().all():
                    fresh = self._cipher.seal(self._cipher.open(row["sealed"]))
                    its = [key == row[key.name] for key in keys]
                    transaction.execute(update(column.table).where(*its).values({column.name: fresh}))
                    rotated += 1
            rotated += self._rotate_specs(transaction)
        return rotated

    def _rotate_specs(self, transaction: Transaction) -> int:
        rotated = 0
        held = select(pipelines.c.id, pipelines.c.spec).with_for_update()
        for id_, spec in transaction.execute(held).all():
            if spec.get("connector"):
                fresh = sealed(self._cipher, opened(self._cipher, spec))
                transaction.execute(update(pipelines).where(pipelines.c.id == id_).values(spec=fresh))
                rotated += 1
        return rotated
