from __future__ import annotations

from connector.exports.software import SOFTWARE


def test_no_two_fields_share_a_name_a_column_or_a_way_of_being_written() -> None:
    """Whatever is read can be of one field only."""
    for names in (
        [field.name for field in SOFTWARE.fields],
        [field.column for field in SOFTWARE.fields],
        [name for field in SOFTWARE.fields for name in field.wire_names],
        [name for field in SOFTWARE.fields for name in field.file_names],
    ):
        assert len(set(names)) == len(names)


def test_files_and_pages_spell_the_same_names() -> None:
    """In lower case the names of both flavours are the same, in the same order; and files begin with a capital."""
    for field in SOFTWARE.fields:
        assert tuple(name.lower() for name in field.file_names) == field.wire_names
        assert all(name[0].isupper() for name in field.file_names)


def test_the_key_is_what_the_api_documents_as_unique() -> None:
    """Device, vendor, name and version, in this order; the device group is an attribute."""
    assert [field.name for field in SOFTWARE.keys] == ["deviceId", "softwareVendor", "softwareName", "softwareVersion"]
    assert [field.name for field in SOFTWARE.subject] == ["softwareVendor", "softwareName", "softwareVersion"]
    assert {*SOFTWARE.keys, *SOFTWARE.attributes} == set(SOFTWARE.fields)
    assert set(SOFTWARE.keys).isdisjoint(SOFTWARE.attributes)


def test_every_field_says_what_it_is() -> None:
    """The schemas and the pages of docs take their words from here."""
    assert all(field.doc.endswith((".", "…")) for field in SOFTWARE.fields)
