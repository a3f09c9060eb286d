"""One example of each record that is published, as `Messages` is given it."""

from __future__ import annotations

from typing import Any

from connector.model import Checkpoint

TENANT = "8f4b1c9e-0d7a-4f7e-9a53-2f0c3a1b5d6e"
OBSERVED = 1_795_420_800_000
"""2026-11-23T08:00:00Z in milliseconds."""

RECORD: dict[str, Any] = {
    "deviceId": "4ae1f2b6c0d95e0c8a7bb1c6c2ad55d4a1f0e3b2",
    "deviceName": "reception-02.corp.example.com",
    "osPlatform": "Windows11",
    "rbacGroupId": 12,
    "rbacGroupName": "Zürich / 東京",
    "softwareVendor": "oracle",
    "softwareName": "java_runtime®",
    "softwareVersion": "8.0.3910.13",
    "numberOfWeaknesses": 2**53 + 1,
    "diskPaths": ["C:\\Program Files\\Java\\jre-1.8\\bin\\java.exe", "D:\\😀\\שלום\\java.exe"],
    "registryPaths": ["HKEY_LOCAL_MACHINE\\SOFTWARE\\JavaSoft\\Java Runtime Environment"],
    "softwareFirstSeenTimestamp": "2026-01-02T11:07:15Z",
    "endOfSupportStatus": "EOS Version",
    "endOfSupportDate": "2026-06-01",
}

CHANGE: dict[str, Any] = {
    "eventId": "6fa459ea-ee8a-5ca4-894e-db77e160355e",
    "changeType": "CHANGED",
    "reason": "UPGRADED",
    "changedFields": ["softwareVersion", "endOfSupportStatus"],
    "before": RECORD | {"softwareVersion": "8.0.3810.9", "endOfSupportStatus": None, "registryPaths": []},
    "isEndOfSupport": True,
    "entraTenantId": TENANT,
    "inventory": "CPE",
    **RECORD,
    "snapshotId": "cpe-20261123T080000Z",
    "previousSnapshotId": "cpe-20261123T020000Z",
    "observedAt": OBSERVED,
    "emittedAt": OBSERVED + 754_321,
    "epoch": 1,
    "sequence": 2**40,
    "replayed": False,
    "connectorVersion": "0.1.0",
}

ALERT: dict[str, Any] = {
    "alertId": "f1b3a2de-5a1c-5a43-9f39-0b6f0c2d8a11",
    "incidentKey": "5a9d2c1e-77b0-5f6e-8c11-3e1f0d2b4c6a",
    "summaryId": "0c7f3b52-1d4e-5a90-9b66-8e2d7a41f305",
    "summarizes": None,
    "alertType": "DATE_THRESHOLD",
    "severity": "medium",
    "daysToEndOfSupport": -7,
    "thresholdDays": 0,
    "eventId": None,
    "changeType": None,
    "reason": None,
    "previousVersion": "8.0.3910.12",
    "decidedBy": "date",
    "isEndOfSupport": False,
    "entraTenantId": TENANT,
    "inventory": "NON_CPE",
    **RECORD,
    "productFirstSeenAt": OBSERVED - 86_400_000,
    "versionFirstSeenAt": OBSERVED,
    "newToOrganisation": False,
    "devicesWithVersion": 2**40,
    "detectionLagSeconds": 28_155_165,
    "snapshotId": "non_cpe-20261123T080000Z",
    "observedAt": OBSERVED,
    "emittedAt": OBSERVED + 1,
    "epoch": 2,
    "replayed": True,
    "connectorVersion": "0.1.0",
}

CAMPAIGN: dict[str, Any] = {
    "campaignId": "b2c4a6d8-1e3f-5a5b-8c7d-9e0f1a2b3c4d",
    "changeType": "CHANGED",
    "reason": "UPGRADED",
    "devices": 1_204,
    "changes": 2**40,
    "isEndOfSupport": False,
    "entraTenantId": TENANT,
    "inventory": "CPE",
    "snapshotId": "cpe-20261123T080000Z",
    "previousSnapshotId": "cpe-20261123T020000Z",
    "observedAt": OBSERVED,
    "emittedAt": OBSERVED + 754_321,
    "epoch": 1,
    "firstSequence": 2**40,
    "lastSequence": 2**41,
    "connectorVersion": "0.1.0",
    "softwareVendor": "google",
    "softwareName": "chrome",
    "softwareVersion": "143.0.7499.110",
    "previousVersion": None,
    "versionsBefore": 3,
    "changedFields": [],
    "previousNumberOfWeaknesses": 7,
    "numberOfWeaknesses": 2**53 + 1,
    "endOfSupportStatus": None,
    "endOfSupportDate": "2026-06-01",
    "deviceGroups": 1,
    "rbacGroupId": 12,
    "rbacGroupName": "Zürich / 東京",
    "sampleEventId": CHANGE["eventId"],
    "sampleDeviceIds": [RECORD["deviceId"], "d-2"],
    "sampleDeviceNames": [RECORD["deviceName"], ""],
}

REPORT: dict[str, Any] = {
    "snapshotId": "cpe-20261123T080000Z",
    "previousSnapshotId": None,
    "entraTenantId": TENANT,
    "inventory": "CPE",
    "status": "COMPLETE",
    "records": 1_000_000,
    "devices": 10_000,
    "stored": 1_000_100,
    "baseline": 0,
    "added": 3,
    "removed": 2,
    "changed": 1,
    "alerts": 4,
    "held": 0,
    "duplicates": 5,
    "rejected": 6,
    "epoch": 1,
    "firstSequence": 7,
    "lastSequence": 12,
    "generatedAt": OBSERVED,
    "startedAt": OBSERVED + 60_000,
    "finishedAt": OBSERVED + 90_500,
    "method": "files",
    "reason": None,
    "connectorVersion": "0.1.0",
}

CHECKPOINT = Checkpoint(
    transactional_id="mde-inventory.tenant.mde.software",
    entra_tenant_id=TENANT,
    epoch=1,
    sequence=2**40,
    sealed=17,
    snapshot_id="cpe-20261123T080000Z",
    written_at=OBSERVED + 90_501,
    connector_version="0.1.0",
    alert_sequence=5,
)

CLAIM = Checkpoint(
    transactional_id=CHECKPOINT.transactional_id,
    entra_tenant_id=TENANT,
    epoch=0,
    sequence=0,
    sealed=0,
    snapshot_id=None,
    written_at=OBSERVED,
    connector_version="0.1.0",
    claim="0123456789abcdef0123456789abcdef",
)

RECORD_KEY = ("CPE", RECORD["deviceId"], RECORD["softwareVendor"], RECORD["softwareName"], RECORD["softwareVersion"])
