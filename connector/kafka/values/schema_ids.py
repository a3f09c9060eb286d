"""The ids of the schemas that are written, as the schema registry gives them.

A process may live for months, and a registry be restored from a copy or a subject deleted meanwhile: the same schema
then has another id, and its old id may be another schema's. So an id is asked for again after a while.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final, NamedTuple

from connector.errors import SchemaUnknown, SinkUnavailable
from connector.kafka.registry import Registry
from connector.telemetry import logger

log = logger(__name__)

BELIEVED_SECONDS: Final = 300.0
"""How long an id is used before the registry is asked again, and how long one that is away is left alone."""


class _Given(NamedTuple):
    """An id, and when the registry gave it."""

    schema_id: int
    at: float


class SchemaIds:
    """Ids by subject.

    Args:
        registry: gives them.
        seconds: a clock that only goes forward.
    """

    def __init__(self, registry: Registry, *, seconds: Callable[[], float] = monotonic) -> None:
        self._registry = registry
        self._seconds = seconds
        self._given: dict[str, _Given] = {}
        self._away_until = 0.0

    def of(self, subject: str, schema: str) -> int:
        """The id of a schema. While the registry is away, the one that it gave last.

        Raises as `Registry.schema_id`.
        """
        now, given = self._seconds(), self._given.get(subject)
        if given is not None and (now < given.at + BELIEVED_SECONDS or now < self._away_until):
            return given.schema_id
        try:
            schema_id = self._registry.schema_id(subject, schema)
        except SinkUnavailable as error:
            if given is None:
                raise
            # Each question takes its time, and readers use the ids that they know as well.
            self._away_until = now + BELIEVED_SECONDS
            log.warning("the schema registry is not available; its last ids are used on", error=str(error))
            return given.schema_id
        except SchemaUnknown:
            self._given.pop(subject, None)
            raise
        if given is not None and given.schema_id != schema_id:
            log.warning("the schema registry gives a schema another id", subject=subject, schema_id=schema_id)
        self._given[subject] = _Given(schema_id, now)
        return schema_id
