from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.errors import SourceMalformed
from connector.source.http.hosts import Hosts, describe_host, matches

HOSTS = Hosts(
    api_url="https://api.security.microsoft.com",
    storage_suffix="blob.core.windows.net",
    allowed=("eu.api.security.microsoft.com", "*.files.example", "10.1.2.3", "fd00::1"),
)


def test_a_path_of_the_api_becomes_a_link_to_the_api() -> None:
    """The API's own links go to its host and port, and a token may go with them."""
    link = HOSTS.api("/api/machines/SoftwareInventoryExport?sasValidHours=6")
    assert (link.url, link.host, link.port, link.target, link.is_api) == (
        "https://api.security.microsoft.com/api/machines/SoftwareInventoryExport?sasValidHours=6",
        "api.security.microsoft.com",
        443,
        "/api/machines/SoftwareInventoryExport?sasValidHours=6",
        True,
    )


@pytest.mark.parametrize(
    ("url", "is_api"),
    [
        ("https://api.security.microsoft.com/api/x?$skiptoken=abc%3d", True),
        ("HTTPS://API.security.microsoft.com:443/api/x", True),
        ("https://eu.api.security.microsoft.com/api/x", False),
        ("https://deep.er.files.example:8443/x", False),
        ("https://10.1.2.3/x", False),
        ("https://[fd00:0::1]/x", False),
    ],
)
def test_a_next_link_on_an_allowed_host_is_followed_byte_for_byte(url: str, is_api: bool) -> None:
    """The text stays as it is; only the API's own host and port counts as the API."""
    link = HOSTS.next_link(url)
    assert (link.url, link.is_api) == (url, is_api)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.security.microsoft.com/x",
        "ftp://api.security.microsoft.com/x",
        "//api.security.microsoft.com/x",
        "/api/x",
        "",
        "https://",
        "https://api.security.microsoft.com:0/x",
        "https://api.security.microsoft.com:99999/x",
        "https://api.security.microsoft.com:44x/x",
        "https://user@api.security.microsoft.com/x",
        "https://user:word@api.security.microsoft.com/x",
        "https://api.security.microsoft.com@evil.example/x",
        "https://evil.example\\@api.security.microsoft.com/x",
        "https://evil.example#@api.security.microsoft.com/x",
        "https://api.security.microsoft.com/x#fragment",
        "https://api.security.microsoft.com/x y",
        "https://api.security.microsoft.com/x\r\nHost: evil.example",
        "https://api.security.microsoft.com/\u00fc",
        "https://api.security.micr\u043esoft.com/x",
        "https://api.security.microsoft.com.evil.example/x",
        "https://api.security.microsoft.com./x",
        "https://evilapi.security.microsoft.com.x/x",
        "https://169.254.169.254/metadata/identity",
        "https://127.0.0.1/x",
        "https://2130706433/x",
        "https://0x7f.1/x",
        "https://[::1]/x",
        "https://10.1.2.4/x",
        "https://files.example/x",
        "https://evilfiles.example/x",
        "https://.files.example/x",
        "https://account.blob.core.windows.net/x",
        "https://api.security.microsoft.com:8443/x",
        "https://api.security.microsoft.com/" + "x" * 20_000,
    ],
)
def test_a_next_link_elsewhere_is_refused(url: str) -> None:
    """Another host, scheme, port or address, a user name, a fragment, or text that readers of URLs disagree on."""
    with pytest.raises(SourceMalformed):
        HOSTS.next_link(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://account.blob.core.windows.net/c/part-0.json.gz?sig=a%2fb%3D",
        "https://account.z37.blob.core.windows.net:443/c/x?sig=1",
        "https://any.files.example/x",
        "https://api.security.microsoft.com/files/x",
    ],
)
def test_a_file_on_an_allowed_host_is_taken_byte_for_byte(url: str) -> None:
    """The cloud's storage hosts need not be listed; the signature's quoting stays as it is."""
    assert HOSTS.file(url).url == url


@pytest.mark.parametrize(
    "url",
    [
        "https://blob.core.windows.net/x",
        "https://account.blob.core.windows.net.evil.example/x",
        "https://accountblob.core.windows.net/x",
        "https://account.blob.core.windows.net:8443/x",
        "http://account.blob.core.windows.net/x",
        "https://169.254.169.254/x",
        "https://u:p@account.blob.core.windows.net/x",
        "https://account.blob.core.usgovcloudapi.net/x",
    ],
)
def test_a_file_elsewhere_is_refused(url: str) -> None:
    """Another cloud's storage, another port or scheme, and look-alikes."""
    with pytest.raises(SourceMalformed):
        HOSTS.file(url)


def test_a_refusal_shows_the_host_and_nothing_that_may_be_secret() -> None:
    """No user name, path or query of a refused URL is in the error."""
    with pytest.raises(SourceMalformed) as caught:
        HOSTS.file("https://me:hunter2@elsewhere.example/path/x?sig=c2VjcmV0")
    shown = f"{caught.value} {caught.value.hint}"
    assert "elsewhere.example" in shown
    assert not any(word in shown for word in ("hunter2", "me:", "path", "sig", "c2VjcmV0"))


def test_a_link_does_not_show_its_query() -> None:
    """Whoever prints a link prints no signature."""
    assert "sig" not in repr(HOSTS.file("https://a.blob.core.windows.net/x/part-1.json.gz?sig=c2VjcmV0"))


def test_a_file_is_known_by_its_last_piece_and_by_its_place_without_the_signature() -> None:
    """Two signatures of one file have the same place."""
    first = HOSTS.file("https://a.blob.core.windows.net/x/y=1/part-1.json.gz?sig=1")
    second = HOSTS.file("https://a.blob.core.windows.net/x/y=1/part-1.json.gz?sig=2")
    assert first.name == second.name == "part-1.json.gz"
    assert first.place == second.place == "a.blob.core.windows.net:443/x/y=1/part-1.json.gz"


def test_a_suffix_pattern_matches_no_address() -> None:
    """`*.3` is no way to list every address that ends in .3."""
    assert not matches("10.1.2.3", "*.3")
    assert matches("a.b.c", "*.c")


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=200) | st.from_regex(r"https://[a-z0-9.@:\\/#?\[\]%-]{0,60}", fullmatch=True))
def test_whatever_the_text_a_link_names_a_host_on_which_the_standard_library_agrees(url: str) -> None:
    """No text is read as one host here and as another by the library that connects: it is that host, or refused."""
    try:
        link = HOSTS.file(url)
    except SourceMalformed:
        return
    parts = urlsplit(url)
    assert parts.scheme == "https"
    assert (parts.hostname, parts.port or 443) == (link.host, link.port)
    assert parts.username is None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=300))
def test_showing_the_host_of_any_text_never_fails_and_stays_short(text: str) -> None:
    """Whatever came as a URL can be named in an error."""
    assert len(describe_host(text)) <= 1100


@pytest.mark.parametrize(
    ("host", "hint"),
    [
        ("api-eu.securitycenter.microsoft.com", 'set source.api_url = "https://api-eu.securitycenter.microsoft.com"'),
        ("eu.api.security.microsoft.com", 'set source.api_url = "https://eu.api.security.microsoft.com"'),
        ("security.microsoft.com.example", "add it to source.allowed_hosts"),
        ("elsewhere.example", "add it to source.allowed_hosts"),
    ],
)
def test_a_next_link_on_another_address_of_the_api_leads_to_that_address(host: str, hint: str) -> None:
    """A host that is merely allowed gets no token, and would answer with a 401."""
    hosts = Hosts(api_url="https://api.security.microsoft.com", storage_suffix="blob.core.windows.net")
    with pytest.raises(SourceMalformed) as caught:
        hosts.next_link(f"https://{host}/api/machines?x=1")
    assert hint in caught.value.hint
