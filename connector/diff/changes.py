"""What counts as a change, once a `Comparer` has found what differs.

`pair_versions` finds changes of version, `stage_arrivals` begins the table of changes to be. Which removals are
believed is the guard's to say; nothing is numbered or stored here.
"""

from __future__ import annotations

from collections.abc import Mapping

from connector.diff.tables import Difference, Moves, Relation, Workspace
from connector.diff.versions import version_reason
from connector.exports.fields import Export, columns_of
from connector.model import ChangeType, Reason
from connector.state.sql import literal


def pair_versions(workspace: Workspace, difference: Difference, *, doubted: Relation | None = None) -> Relation:
    """The changes of version: exactly one removed and one added version of a product on a device.

    A version whose removal is held already counts only where no other is absent. On `doubted` devices there are no
    pairs: the earlier version may still be there, on a line that could not be read.

    Returns rows of (device_no, software_no, previous_software_no, previous_row, version_before, version_after).
    """
    product = columns_of(workspace.export.product)
    is_paired = workspace.export.version is not None
    return workspace.make(
        "pairs",
        f"""
        WITH added AS ({_added_versions(workspace.export, difference)}),
        candidates AS ({_gone_versions(workspace, difference)}),
        removed AS (
            SELECT device_no,
                   {product},
                   any_value(software_no) AS previous_software_no,
                   any_value({_version(workspace.export)}) AS version_before,
                   any_value(previous_row) AS previous_row
            FROM candidates
            WHERE is_held = all_held
            GROUP BY ALL
            HAVING count(*) = 1
        )
        SELECT device_no, software_no, previous_software_no, previous_row, version_before, version_after
        FROM added
        JOIN removed USING (device_no, {product})
        {f"ANTI JOIN {doubted} USING (device_no)" if doubted else ""}
        WHERE {"true" if is_paired else "false"}
        """,
    )


def stage_arrivals(
    workspace: Workspace, difference: Difference, moves: Moves, pairs: Relation, *, paired: bool
) -> Relation:
    """The changes that need no guard: ADDED, CHANGED, and REMOVED where an update removes.

    A device is new where the inventory has no record of it at all; what is in `moves.moved_in` is neither new nor
    installed. With `paired` false, the two halves of a change of version are two changes.

    Returns rows of (device_no, software_no, previous_row, change_type, reason), to which the removals that the guard
    believes are added.
    """
    added = f"{difference.arrivals} ANTI JOIN {pairs} USING (device_no, software_no)" if paired else difference.arrivals
    return workspace.make(
        "staged",
        f"""
        WITH newcomers AS (
            SELECT device_no
            FROM {difference.arrivals}
            WHERE previous_row IS NULL
        ),
        known_devices AS (
            SELECT DISTINCT device_no
            FROM inventory
            SEMI JOIN newcomers USING (device_no)
            WHERE inventory = {literal(workspace.inventory)}
        )
        SELECT device_no,
               software_no,
               NULL::BIGINT AS previous_row,
               {literal(ChangeType.ADDED)} AS change_type,
               {_reason_added(moves)} AS reason
        FROM {added}
        WHERE previous_row IS NULL
        UNION ALL
        SELECT device_no,
               software_no,
               previous_row,
               {literal(ChangeType.CHANGED)},
               {literal(Reason.ATTRIBUTES_CHANGED)}
        FROM {difference.arrivals}
        ANTI JOIN {difference.quiet} USING (previous_row)
        WHERE previous_row IS NOT NULL
        UNION ALL
        {_version_changes(workspace, pairs) if paired else _removed_halves(pairs)}
        """,
        grows=True,
    )


def stage_baseline(workspace: Workspace, *, emit: bool) -> Relation:
    """One BASELINE change a record of a first snapshot; none where the baseline is silent."""
    return workspace.make(
        "staged",
        f"""
        SELECT device_no,
               software_no,
               NULL::BIGINT AS previous_row,
               {literal(ChangeType.BASELINE)} AS change_type,
               {literal(Reason.FIRST_SNAPSHOT)} AS reason
        FROM inventory
        WHERE inventory = {literal(workspace.inventory)} AND {"true" if emit else "false"}
        """,
        grows=True,
    )


def stage_as(workspace: Workspace, records: Relation, change_type: ChangeType, reason: Reason) -> Relation:
    """Begin the table of changes to be with all of some records, (device_no, software_no, previous_row), as one."""
    return workspace.make(
        "staged",
        f"""
        SELECT device_no,
               software_no,
               previous_row,
               {literal(change_type)} AS change_type,
               {literal(reason)} AS reason
        FROM {records}
        """,
        grows=True,
    )


def changed_fields(values: Mapping[str, tuple[str, str]]) -> str:
    """An expression: names of the fields whose values before and after differ, of pairs of expressions, in order."""
    names = ", ".join(
        f"CASE WHEN {before} IS DISTINCT FROM {after} THEN {literal(name)} END"
        for name, (before, after) in values.items()
    )
    return f"list_filter([{names}], lambda name: name IS NOT NULL)"


def _version(export: Export) -> str:
    return export.version_column or "NULL::VARCHAR"


def _added_versions(export: Export, difference: Difference) -> str:
    """A SELECT of the products of which exactly one version came to a device."""
    return f"""
        SELECT device_no,
               {columns_of(export.product)},
               any_value(software_no) AS software_no,
               any_value({_version(export)}) AS version_after
        FROM {difference.arrivals}
        WHERE previous_row IS NULL
        GROUP BY ALL
        HAVING count(*) = 1
    """


def _gone_versions(workspace: Workspace, difference: Difference) -> str:
    """A SELECT of the absent versions on devices in `added`, with whether they, and all of their product, are held."""
    return f"""
        WITH held_here AS (
            SELECT device_no, software_no
            FROM held
            WHERE inventory = {literal(workspace.inventory)}
        ),
        gone AS (
            SELECT device_no,
                   software_no,
                   previous_row,
                   {workspace.export.subject_columns},
                   held_here.device_no IS NOT NULL AS is_held
            FROM {difference.absent}
            SEMI JOIN added USING (device_no)
            JOIN software USING (software_no)
            LEFT JOIN held_here USING (device_no, software_no)
        )
        SELECT *, bool_and(is_held) OVER (PARTITION BY device_no, {columns_of(workspace.export.product)}) AS all_held
        FROM gone
    """


def _reason_added(moves: Moves) -> str:
    """An expression: why a record that arrived was ADDED."""
    return f"""
               CASE
                   WHEN (device_no, software_no) IN (SELECT (device_no, software_no) FROM {moves.moved_in})
                       THEN {literal(Reason.MOVED)}
                   WHEN device_no IN (SELECT device_no FROM known_devices) THEN {literal(Reason.INSTALLED)}
                   ELSE {literal(Reason.NEW_DEVICE)}
               END"""


def _version_changes(workspace: Workspace, pairs: Relation) -> str:
    """A SELECT of the pairs as CHANGED, with which of the two versions is later as the reason."""
    steps = workspace.database.rows(f"SELECT DISTINCT version_before, version_after FROM {pairs}")
    # Version strings are few beside records: they are ordered in Python, once for each pair of strings.
    version_steps = workspace.make(
        "version_steps",
        """
        SELECT unnest($1::VARCHAR[]) AS version_before,
               unnest($2::VARCHAR[]) AS version_after,
               unnest($3::VARCHAR[]) AS reason
        """,
        [
            [before for before, _ in steps],
            [after for _, after in steps],
            [version_reason(before, after).value for before, after in steps],
        ],
    )
    return f"""
        SELECT device_no, software_no, previous_row, {literal(ChangeType.CHANGED)}, reason
        FROM {pairs}
        JOIN {version_steps} USING (version_before, version_after)
    """


def _removed_halves(pairs: Relation) -> str:
    """A SELECT of the earlier versions as REMOVED; the later ones are among what arrived."""
    return f"""
        SELECT device_no,
               previous_software_no,
               previous_row,
               {literal(ChangeType.REMOVED)},
               {literal(Reason.UNINSTALLED)}
        FROM {pairs}
    """
