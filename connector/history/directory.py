"""What is there now: devices, products, who has a product, and the last alerts; a few rows of each."""

from __future__ import annotations

from datetime import date
from typing import Any, Final

from connector.exports.fields import Export, columns_of
from connector.history.alerts import read_alerts
from connector.history.past import with_support
from connector.history.support_now import PAIR, judged
from connector.staging import support
from connector.state.journal import alert_columns
from connector.state.lists import patterns
from connector.state.lists.paging import FLAG, NUMBER, TEXT, Listed, Order, Place
from connector.state.lists.patterns import Bound
from connector.state.state import StateFile

DEVICES: Final = Order(
    (("-out_of_support", NUMBER), ("lower(coalesce(device_name, device_id))", TEXT), ("device_id", TEXT))
)
"""Those with most software out of support first."""
PRODUCTS: Final = Order((("-devices", NUMBER), ("software_vendor", TEXT), ("software_name", TEXT)))
"""Those on most devices first."""
HOLDERS: Final = Order(
    (
        ("NOT is_end_of_support", FLAG),
        ("software_version", TEXT),
        ("lower(coalesce(device_name, device_id))", TEXT),
        ("device_id", TEXT),
        ("inventory", TEXT),
    )
)
"""Those out of support first, by version."""


def count_devices(state: StateFile) -> int:
    """How many devices have records now."""
    return state.database.number("SELECT count(DISTINCT device_no) FROM inventory")


def count_groups(state: StateFile, rows_max: int) -> list[dict[str, Any]]:
    """Devices and records of each device group and inventory now, the largest groups first."""
    rows = state.database.rows(
        f"""
        SELECT inventory, rbac_group_name, count(DISTINCT device_no) AS devices, count(*)
        FROM inventory
        GROUP BY inventory, rbac_group_name
        ORDER BY devices DESC, rbac_group_name, inventory
        LIMIT {rows_max}
        """
    )
    return [dict(zip(("inventory", "rbacGroupName", "devices", "records"), row, strict=True)) for row in rows]


def find_devices(state: StateFile, text: str, day: date, rows_max: int, after: Place | None = None) -> Listed:
    """Devices whose name or id contains a text or matches a pattern, in the order of `DEVICES`."""
    bind, (beyond, place) = Bound(), DEVICES.beyond(after)
    condition = patterns.is_device(_within(text), bind) if text.strip() else "true"
    rows = state.database.rows(
        f"""
        WITH {judged(day)},
        counted AS (
            SELECT device_no,
                   max(device_name) AS device_name,
                   max(os_platform) AS os_platform,
                   max(rbac_group_name) AS rbac_group_name,
                   count(*) AS records,
                   count(*) FILTER (says IN {support.ENDED}) AS out_of_support
            FROM inventory
            JOIN judged ON {PAIR}
            JOIN devices USING (device_no)
            WHERE {condition}
            GROUP BY device_no
        )
        SELECT {DEVICES.columns}, device_id, device_name, os_platform, rbac_group_name, records, out_of_support
        FROM counted
        JOIN devices USING (device_no)
        WHERE {beyond}
        ORDER BY {DEVICES.columns}
        LIMIT {rows_max + 1}
        """,
        bind.parameters | place,
    )
    names = ("deviceId", "deviceName", "osPlatform", "rbacGroupName", "records", "outOfSupport")
    return DEVICES.listed(names, rows, rows_max)


def find_products(state: StateFile, text: str, day: date, rows_max: int, after: Place | None = None) -> Listed:
    """Products whose vendor or name contains a text or matches a pattern, in the order of `PRODUCTS`."""
    bind, (beyond, place) = Bound(), PRODUCTS.beyond(after)
    names = [field.name for field in state.export.product]
    product = columns_of(state.export.product)
    condition = "true"
    if text.strip():
        condition = patterns.any_of(
            patterns.matches(field.column, _within(text), bind) for field in state.export.product
        )
    # Numbers stand for products, so that each of them is counted once on a device without a look at any name.
    rows = state.database.rows(
        f"""
        WITH {judged(day)},
        numbered AS (
            SELECT software_no, {product}, dense_rank() OVER (ORDER BY {product}) AS product_no
            FROM software
            WHERE {condition}
        ),
        had AS (
            SELECT product_no, device_no, bool_or(coalesce(says IN {support.ENDED}, false)) AS is_out_of_support
            FROM inventory
            JOIN numbered USING (software_no)
            JOIN judged ON {PAIR}
            GROUP BY ALL
        ),
        counted AS (
            SELECT product_no, count(*) AS devices, count(*) FILTER (is_out_of_support) AS out_of_support
            FROM had
            GROUP BY product_no
        ),
        named AS (
            SELECT {product}, product_no, count(*) AS versions
            FROM numbered
            SEMI JOIN inventory USING (software_no)
            GROUP BY ALL
        )
        SELECT {PRODUCTS.columns}, {product}, versions, devices, out_of_support
        FROM counted
        JOIN named USING (product_no)
        WHERE {beyond}
        ORDER BY {PRODUCTS.columns}
        LIMIT {rows_max + 1}
        """,
        bind.parameters | place,
    )
    return PRODUCTS.listed((*names, "versions", "devices", "outOfSupport"), rows, rows_max)


def who_has(
    state: StateFile, vendor: str, product: str, day: date, rows_max: int, after: Place | None = None
) -> tuple[int, Listed]:
    """How many devices have a product now, and a page of them with its version; names are compared as they are."""
    names = ("deviceId", "deviceName", "osPlatform", "rbacGroupName", "softwareVersion", "isEndOfSupport")
    condition = "coalesce(software_vendor, '') = $vendor AND coalesce(software_name, '') = $product"
    parameters = {"vendor": vendor, "product": product}
    current, (beyond, place) = _current(state.export, day, condition), HOLDERS.beyond(after)
    number = state.database.number(f"WITH {current} SELECT count(DISTINCT device_no) FROM current_records", parameters)
    rows = state.database.rows(
        f"""
        WITH {current}
        SELECT {HOLDERS.columns}, device_id, device_name, os_platform, rbac_group_name, software_version,
               is_end_of_support
        FROM current_records
        WHERE {beyond}
        ORDER BY {HOLDERS.columns}
        LIMIT {rows_max + 1}
        """,
        parameters | place,
    )
    return number, HOLDERS.listed(names, rows, rows_max)


def newest_alerts(state: StateFile, rows_max: int, device_id: str | None = None) -> list[dict[str, Any]]:
    """The last alerts, of the fleet or of one device, newest first, as `EndOfSupportAlert` mappings."""
    columns = ", ".join(alert_columns(state.export).values())
    rows = state.database.rows(
        f"""
        SELECT snapshot_no, {columns}
        FROM alerts
        WHERE $device IS NULL OR device_id = $device
        ORDER BY epoch DESC, alert_no DESC
        LIMIT {rows_max}
        """,
        {"device": device_id},
    )
    known = read_alerts(state, [(number, columns) for number, *columns in rows])
    return [alert for alert in known if alert is not None]


def _within(text: str) -> str:
    """A pattern: the text itself where it is one, else anything that contains it."""
    text = text.strip()
    return text if "*" in text or "?" in text else f"*{text}*"


def _current(export: Export, day: date, condition: str) -> str:
    """CTEs that end with `current_records`: the stored records that meet a condition, with `is_end_of_support`."""
    return f"""
        stored AS (
            SELECT {export.columns}, inventory, device_no, software_no
            FROM inventory
            JOIN devices USING (device_no)
            JOIN software USING (software_no)
            WHERE {condition}
        ),
        current_records AS ({with_support("stored", day)})
    """
