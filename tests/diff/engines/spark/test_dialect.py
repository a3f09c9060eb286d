from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from connector.diff.engines.spark.job import Table
from connector.diff.engines.spark.session import translated
from connector.errors import SourceMalformed
from connector.exports.fields import Kind
from connector.exports.software import SOFTWARE
from connector.model import Part
from tests.support.oracle import normal_value

FEW = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
TIMES = st.from_regex(
    r"\A[0-2]\d{3}-[01]\d-[0-3]\d[ T][0-2]\d:[0-5]\d(:[0-6]\d(\.\d{1,10})?)?(Z|[+-][0-2]\d(:?[0-5]\d)?)?\Z"
)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PROPERTIES = {field.name.lower(): (field.name,) for field in SOFTWARE.fields}


def read(spark: Any, path: Path, lines: Sequence[Mapping[str, Any] | bytes]) -> list[dict[str, Any]]:
    """What Spark reads of lines, with the names of the properties."""
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(b"\n".join(texts) + b"\n")
    part = Part(path, path.name, len(lines), path.stat().st_size, PROPERTIES)
    names = {field.column: field.name for field in SOFTWARE.fields}
    with translated():
        rows = Table(spark, "", SOFTWARE)._current([part]).collect()
    return [{names[column]: value for column, value in row.asDict().items() if column in names} for row in rows]


@given(texts=st.lists(TIMES | WORDS | st.just("0000-01-01 00:00:00"), min_size=1, max_size=200))
@example(
    texts=[
        "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-01:00", "0001-01-01 00:00:00", "0001-01-01T00:00:00+01:00",
        "2020-12-30 11:07:1Z", "2020-12-30 24:00:00", "2020-02-30 00:00:00", "2020-12-30 23:59:60",
        "2020-12-30 11:07:15.0000001", "2020-12-30 11:07:15.9999999", "2020-12-30 11:07:15.100", "1234-05-06 07:08",
        "2020/12/30", "2020-1-3", "20201-1-01", "infinity", "epoch", "2020-12-30 (BC)", " 2020-12-30", "2020-12-30 ",
        "2020-12-30 11:07:15\n", "2020-12-30T11:07+2359", "2020-12-30T11:07+24:00", "2020-12-30T11:07-05",
    ]
)  # fmt: skip
@FEW
def test_any_text_has_the_normal_form_of_the_oracle_as_date_and_as_time(
    spark: Any, texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As DuckDB's reader is held against it: readable ones in the one form, all others as they are."""
    lines = [
        {"deviceId": "d", "softwareName": str(number), "endOfSupportDate": text, "softwareFirstSeenTimestamp": text}
        for number, text in enumerate(texts)
    ]
    rows = {int(row["softwareName"]): row for row in read(spark, tmp_path_factory.mktemp("parts") / "p.json", lines)}
    forms = [(rows[n]["endOfSupportDate"], rows[n]["softwareFirstSeenTimestamp"]) for n in range(len(texts))]
    assert forms == [(normal_value(Kind.DATE, text), normal_value(Kind.TIMESTAMP, text)) for text in texts]


def test_values_of_another_type_are_read_where_that_is_unambiguous(spark: Any, tmp_path: Path) -> None:
    """As DuckDB's reader takes them: a number stands for its text, digits in quotes for their number."""
    (row,) = read(
        spark,
        tmp_path / "p.json",
        [b'{"deviceId":"d","softwareVersion":7,"deviceName":true,"osPlatform":{"a":1},"numberOfWeaknesses":"12",'
         b'"rbacGroupId":-9223372036854775808,"diskPaths":[1,null,"x","\xc3\xbc"],"undocumented":"}{"}', b" \t"],
    )  # fmt: skip
    assert row == {
        "deviceId": "d", "deviceName": "true", "osPlatform": '{"a":1}', "rbacGroupId": -(2**63), "rbacGroupName": None,
        "softwareVendor": "", "softwareName": "", "softwareVersion": "7", "numberOfWeaknesses": 12,
        "diskPaths": ["1", "x", "ü"], "registryPaths": [], "softwareFirstSeenTimestamp": None,
        "endOfSupportStatus": None, "endOfSupportDate": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        b"[1]", b"null", b'"text"', b'{"deviceId":"d"', b'{"deviceId":"d"} x', b'{"deviceId":"d"} {"deviceId":"e"}',
        b'{"deviceId":"d"}{"deviceId":"e"}', b'{"deviceId":NaN}', b"{'deviceId':'d'}", b'{"deviceId":"\x01"}',
        b'{"deviceId":"d","diskPaths":"x"}', b'{"deviceId":"d","numberOfWeaknesses":2.5}',
        b'{"deviceId":"d","numberOfWeaknesses":true}', b'{"deviceId":"d","numberOfWeaknesses":9223372036854775808}',
        b'{"deviceId":"\\ud800"}', b'{"deviceId":"d","deviceName":"a\\udc00"}',
    ],
)  # fmt: skip
def test_a_line_that_is_not_plainly_a_record_is_refused(spark: Any, line: bytes, tmp_path: Path) -> None:
    """`repair` decides about it; nothing is cut off, rounded or taken for another character."""
    with pytest.raises(SourceMalformed):
        read(spark, tmp_path / "p.json", [b'{"deviceId":"a"}', line])


def test_what_only_looks_odd_is_read(spark: Any, tmp_path: Path) -> None:
    """Whole surrogate pairs, escaped backslashes before what would be half of one, and braces inside texts."""
    lines = [b'{"deviceId":"\\ud83d\\ude00"}', b'{"deviceId":"C:\\\\udc00"}', b'{"deviceId":"} {"}']
    assert {row["deviceId"] for row in read(spark, tmp_path / "p.json", lines)} == {"😀", "C:\\udc00", "} {"}
