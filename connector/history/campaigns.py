"""Campaigns: the changes of one snapshot folded by what happened, so that 1,204 upgrades are one piece of news.

Changes of one type and reason are one campaign where they are about the same:

| about | changes of | one campaign for |
|---|---|---|
| whole devices | NEW_DEVICE, DEVICE_MISSING, AGED_OUT, APPROVED | all of them |
| facts of devices | ATTRIBUTES_CHANGED, where all fields that differ are facts of the device | those fields |
| counts alone | ATTRIBUTES_CHANGED, where the number of weaknesses alone differs | a version, and the two numbers |
| versions | ADDED, CHANGED | a version, from whichever version before; and the fields of ATTRIBUTES_CHANGED |
| products | REMOVED | a product, in whichever version |

A first snapshot is none: what it has did not happen in it. What all changes of a campaign have in common the campaign
has too; the rest is null. The journal keeps changes as they were staged, so a campaign is the same whenever it is
folded.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from connector.exports.identity import event_id
from connector.exports.software import SOFTWARE
from connector.history.filters import Selection
from connector.model import ChangeType, Reason, StagedSnapshot
from connector.state.sql import literal
from connector.state.state import StateFile
from connector.telemetry import logger

log = logger(__name__)

CAMPAIGNS_MAX: Final = 1_000
"""Campaigns of one snapshot that are Python objects, or messages: the widest."""

SAMPLE_DEVICES: Final = 10
"""Devices named in a campaign."""

WEAKNESSES: Final = "numberOfWeaknesses"
_OF_DEVICES: Final = (Reason.NEW_DEVICE, Reason.DEVICE_MISSING, Reason.AGED_OUT, Reason.APPROVED)
_DEVICE_FIELDS: Final = tuple(field.name for field in SOFTWARE.fields if field.about == "device")
_KEY: Final = ("vendor", "product", "version", "fields", "count_before", "count_after")


def _common(expression: str) -> str:
    """An aggregate: the value that all rows have in common, or NULL."""
    is_common = f"count({expression}) = count(*) AND min({expression}) = max({expression})"
    return f"CASE WHEN {is_common} THEN min({expression}) END"


_COLUMNS: Final = {
    "changeType": "change_type",
    "reason": "reason",
    "devices": "count(DISTINCT device_id)",
    "changes": "count(*)",
    "softwareVendor": _common("software_vendor"),
    "softwareName": _common("software_name"),
    "softwareVersion": _common("software_version"),
    "previousVersion": _common("version_before"),
    "versionsBefore": "count(DISTINCT CASE WHEN NOT of_devices THEN coalesce(version_before, version_removed) END)",
    "changedFields": "coalesce(fields, [])",
    "previousNumberOfWeaknesses": _common("weaknesses_before"),
    "numberOfWeaknesses": _common("number_of_weaknesses"),
    "isEndOfSupport": "bool_and(is_end_of_support)",
    "endOfSupportStatus": _common("end_of_support_status"),
    "endOfSupportDate": _common("end_of_support_date"),
    "deviceGroups": "count(DISTINCT {'id': rbac_group_id, 'name': rbac_group_name})",
    "rbacGroupId": _common("rbac_group_id"),
    "rbacGroupName": _common("rbac_group_name"),
    "firstSequence": "min(sequence)",
    "lastSequence": "max(sequence)",
    "sampleEventId": "arg_min(event_id, sequence)",
    "sampleDeviceIds": f"list_sort(min(DISTINCT device_id, {SAMPLE_DEVICES}))",
}
"""The columns of a campaign, as aggregates, by the names that `SoftwareCampaign` gives them."""


@dataclass(frozen=True, slots=True)
class CampaignRules:
    """`[campaigns]`: whether campaigns are published, and on how many devices at least."""

    enabled: bool
    min_devices: int


def fold(
    state: StateFile, snapshot: StagedSnapshot, selection: Selection | None = None, *, devices_min: int = 1
) -> tuple[list[dict[str, Any]], int]:
    """The campaigns of a snapshot, those on most devices first; and how many changes are in none of them.

    At most `CAMPAIGNS_MAX`. Of the selection, the filters that a change itself has to meet count.
    """
    if snapshot.first_sequence is None or snapshot.counts.changes == snapshot.counts.baselined:
        return [], 0
    condition, parameters = (selection or Selection()).condition()
    key = ", ".join(_KEY)
    rows = state.database.rows(
        f"""
        WITH chosen AS ({_chosen(condition)}),
        keyed AS ({_KEYED}),
        campaigns AS (
            SELECT {", ".join(f'{expression} AS "{name}"' for name, expression in _COLUMNS.items())}, {key}
            FROM keyed
            GROUP BY change_type, reason, {key}
        ),
        totals AS (
            SELECT sum(changes)::BIGINT AS total
            FROM campaigns
        )
        SELECT total, {key}, {", ".join(f'"{name}"' for name in _COLUMNS)}
        FROM campaigns
        CROSS JOIN totals
        WHERE devices >= $devices_min
        ORDER BY devices DESC, changes DESC, "changeType", "reason", {key}
        LIMIT {CAMPAIGNS_MAX}
        """,
        parameters
        | {
            "epoch": snapshot.epoch,
            "after": snapshot.first_sequence - 1,
            "upto": snapshot.last_sequence,
            "devices_min": devices_min,
        },
    )
    campaigns = [
        dict(zip(_COLUMNS, row[1 + len(_KEY) :], strict=True)) | {"key": list(row[1 : 1 + len(_KEY)])} for row in rows
    ]
    names = _names_of(state, snapshot, {device for campaign in campaigns for device in campaign["sampleDeviceIds"]})
    for campaign in campaigns:
        campaign["sampleDeviceNames"] = [names[device] for device in campaign["sampleDeviceIds"]]
    return campaigns, (rows[0][0] if rows else 0) - sum(campaign["changes"] for campaign in campaigns)


def messages_of(
    state: StateFile, snapshot: StagedSnapshot, rules: CampaignRules, *, tenant_id: str
) -> Iterator[dict[str, Any]]:
    """The campaigns of a snapshot that are wide enough, as `SoftwareCampaign` mappings; the same at every call."""
    if not rules.enabled:
        return
    campaigns, _ = fold(state, snapshot, devices_min=rules.min_devices)
    if len(campaigns) == CAMPAIGNS_MAX:
        log.warning("a snapshot has more campaigns than are published: the widest are", campaigns=CAMPAIGNS_MAX)
    for campaign in campaigns:
        what = json.dumps([campaign.pop("key"), campaign["changeType"], campaign["reason"]])
        yield campaign | {
            "campaignId": event_id(tenant_id, snapshot.snapshot_id, "campaign", snapshot.inventory.value, what),
            "entraTenantId": tenant_id,
            "inventory": snapshot.inventory.value,
            "snapshotId": snapshot.snapshot_id,
            "previousSnapshotId": snapshot.previous_snapshot_id,
            "observedAt": snapshot.generated_at,
            "emittedAt": snapshot.staged_at,
            "epoch": snapshot.epoch,
            "connectorVersion": snapshot.connector_version,
        }


def without_keys(campaigns: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Campaigns for people and programs: without what their ids are made of."""
    return [{name: value for name, value in campaign.items() if name != "key"} for campaign in campaigns]


def _chosen(condition: str) -> str:
    """A SELECT of the changes of a snapshot that meet a condition, with what they were before."""
    of_devices = ", ".join(literal(reason) for reason in _OF_DEVICES)
    device_fields = ", ".join(literal(name) for name in _DEVICE_FIELDS)
    return f"""
            SELECT sequence, event_id, change_type, reason, changed_fields, is_end_of_support, device_id, device_name,
                   rbac_group_id, rbac_group_name, software_vendor, software_name, software_version,
                   number_of_weaknesses, end_of_support_status, end_of_support_date,
                   CASE WHEN before."softwareVersion" <> software_version THEN before."softwareVersion" END
                       AS version_before,
                   CASE WHEN change_type = {literal(ChangeType.REMOVED)} THEN software_version END AS version_removed,
                   before."{WEAKNESSES}" AS weaknesses_before,
                   reason = {literal(Reason.ATTRIBUTES_CHANGED)} AS of_attributes,
                   reason IN ({of_devices})
                       OR (of_attributes AND list_has_all([{device_fields}], changed_fields)) AS of_devices,
                   of_attributes AND changed_fields = [{literal(WEAKNESSES)}] AS of_counts
            FROM changes
            WHERE epoch = $epoch
              AND sequence > $after
              AND sequence <= $upto
              AND change_type <> {literal(ChangeType.BASELINE)}
              AND {condition}
    """


_KEYED: Final = f"""
            SELECT *,
                   CASE WHEN NOT of_devices THEN software_vendor END AS vendor,
                   CASE WHEN NOT of_devices THEN software_name END AS product,
                   CASE WHEN NOT of_devices AND change_type <> {literal(ChangeType.REMOVED)} THEN software_version END
                       AS version,
                   CASE WHEN of_attributes THEN changed_fields END AS fields,
                   CASE WHEN of_counts THEN weaknesses_before END AS count_before,
                   CASE WHEN of_counts THEN number_of_weaknesses END AS count_after
            FROM chosen
"""
"""A SELECT of the `chosen` changes with what a campaign is about."""


def _names_of(state: StateFile, snapshot: StagedSnapshot, devices: Collection[str]) -> dict[str, str]:
    """The names of some devices in the changes of a snapshot; the first of several, "" of a device without one."""
    return dict(
        state.database.rows(
            """
            SELECT device_id, coalesce(min(device_name), '')
            FROM changes
            WHERE epoch = $epoch
              AND sequence BETWEEN $first AND $last
              AND device_id IN (SELECT unnest($devices::VARCHAR[]))
            GROUP BY device_id
            """,
            {
                "epoch": snapshot.epoch,
                "first": snapshot.first_sequence,
                "last": snapshot.last_sequence,
                "devices": sorted(devices),
            },
        )
    )
