"""What passes between the steps of a comparison: relations that the state file's database can read, by name.

Each step makes temporary tables in a `Workspace` and returns the relations that the next ones read. No step knows the
name of another's table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from connector.exports.fields import Export, Field
from connector.model import Inventory
from connector.state.sql import Database, identifier, stored_records

Relation = str
"""A FROM item: a table, or a query in parentheses."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """An open transaction of a state file, in which one inventory of an export is compared.

    Attributes:
        database: of the file.
        export: what it holds.
        inventory: which of its inventories.
        scratch: whether nothing may be written anywhere but there: a dry run.
    """

    database: Database
    export: Export
    inventory: Inventory
    scratch: bool = False

    @property
    def stored(self) -> Relation:
        """The inventory's records with their keys spelled out; `previous_row` is the row id."""
        return stored_records(self.export, self.inventory)

    def stored_among(self, rows: Relation) -> Relation:
        """The same of the records whose row ids are `previous_row` of a relation."""
        return stored_records(self.export, self.inventory, among=rows)

    def make(
        self,
        table: str,
        query: str,
        parameters: Sequence[object] | Mapping[str, object] = (),
        *,
        grows: bool = False,
    ) -> Relation:
        """Make a temporary table of a query's rows, in place of one of that name. Returns the table.

        Rows can be added to it later only where it `grows`.
        """
        ((rows,),) = self.database.rows(f"CREATE OR REPLACE TEMP TABLE {table} AS\n{query}", parameters)
        if grows and not rows:
            # DuckDB 2.0 keeps wrong statistics of a table that was made by a query which cannot have rows: once several
            # threads have filled it in the same transaction, filters and joins find nothing there.
            described = self.database.rows(f"DESCRIBE {table}")
            columns = ", ".join(f"{identifier(name)} {kind}" for name, kind, *_ in described)
            self.database.rows(f"CREATE OR REPLACE TEMP TABLE {table} ({columns})")
        return table

    def count(self, relation: Relation) -> int:
        """Rows of a relation."""
        return self.database.number(f"SELECT count(*) FROM {relation}")


class Difference(NamedTuple):
    """A snapshot beside the inventory: what a `Comparer` found. `engines` says what each relation holds."""

    arrivals: Relation
    earlier: Relation
    absent: Relation
    quiet: Relation
    rewritten: Relation
    records: int
    devices: int
    duplicates: int
    lookalikes: int = 0
    lines: Relation | None = None


class Moves(NamedTuple):
    """Products that moved between the inventories of an export: two relations of (device_no, software_no).

    Attributes:
        elsewhere: absent records that the other inventory has.
        moved_in: new records that the other inventory has, or had until after the last snapshot of this one.
    """

    elsewhere: Relation
    moved_in: Relation


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a snapshot comes to: its difference, and the changes that follow from it.

    Attributes:
        difference: of the snapshot and the inventory.
        staged: the changes to be: (device_no, software_no, previous_row, change_type, reason), where `previous_row` is
            the row id of the stored record that is removed or changed; NULL for an addition.
        completing: the keys (device_no, software_no) of new records that a young baseline lacked, and that are no
            additions; None where there are none.
    """

    difference: Difference
    staged: Relation
    completing: Relation | None = None

    @property
    def leaving(self) -> str:
        """A SELECT of the row ids of stored records that go, or are stored again."""
        return f"SELECT previous_row FROM {self.staged} UNION ALL SELECT previous_row FROM {self.difference.quiet}"


def differ(fields: Sequence[Field], before: str, after: str) -> str:
    """An expression: whether two row aliases differ in any of the fields."""
    columns = [field.column for field in fields]
    return " OR ".join(f"{before}.{column} IS DISTINCT FROM {after}.{column}" for column in columns) or "false"


def compare_values(
    workspace: Workspace,
    name: Relation,
    *,
    earlier: Relation,
    arrivals: Relation,
    tracked: Sequence[Field],
    judged: Sequence[Field],
) -> Relation:
    """Records that were there before, value by value: `previous_row`, `digest` as read, `differs` and `changed`.

    A record differs where any of the tracked fields does, and has changed where any of the judged ones does.
    """
    return workspace.make(
        name,
        f"""
        SELECT previous_row,
               digest,
               {differ(tracked, "b", "a")} AS differs,
               {differ(judged, "b", "a")} AS changed
        FROM {earlier} b
        JOIN {arrivals} a USING (previous_row)
        """,
    )


def no_difference(workspace: Workspace) -> Difference:
    """The difference of an inventory from itself: five empty relations, where nothing was compared."""
    nothing = f"FROM {workspace.stored} WHERE false"
    return Difference(
        arrivals=workspace.make("arrivals", f"SELECT *, NULL::UBIGINT AS digest {nothing}", grows=True),
        earlier=workspace.make("earlier", f"SELECT * {nothing}", grows=True),
        absent=workspace.make("absent", f"SELECT previous_row, device_no, software_no {nothing}"),
        quiet=workspace.make("quiet", f"SELECT previous_row {nothing}"),
        rewritten=workspace.make("rewritten", f"SELECT previous_row, NULL::UBIGINT AS digest {nothing}", grows=True),
        records=0,
        devices=0,
        duplicates=0,
    )
