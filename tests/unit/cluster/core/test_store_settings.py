"""What the settings of stores refuse, before anybody connects."""

from __future__ import annotations

import pytest
from pydantic import SecretStr, ValidationError

from cluster.core.settings import QdrantSettings


@pytest.mark.parametrize(
    "url",
    ["http://qdrant:6333", "https://qdrant.example.com", "http://[::1]:6333", "http://h:1/prefix"],
)
def test_addresses_of_a_qdrant_server(url: str) -> None:
    assert QdrantSettings(url=url).url == url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://qdrant", "http:// or https://"),
        ("qdrant:6333", "http:// or https://"),
        ("http://", "with a host"),
        ("http://qdrant:99999", "1 to 65535"),
        ("http://qdrant:0", "http:// or https://"),
        ("http://qdrant:many", "1 to 65535"),
        ("http://[::1", "1 to 65535"),
        ("http://user:word@qdrant", "set api_key"),
        ("http://qdrant?api-key=word", "query"),
        ("http://qdrant#part", "fragment"),
        ("http://qdr\u00e4nt", "ASCII"),
        ("http://qdrant /", "spaces"),
        ("http://qdrant\n", "spaces"),
    ],
)
def test_what_is_no_address_of_a_qdrant_server(url: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        QdrantSettings(url=url)
    assert "word" not in str(caught.value), "errors are logged"


@pytest.mark.parametrize("key", ["", "schl\u00fcssel", "two words", "line\n", "\x00"])
def test_a_key_that_no_header_can_carry(key: str) -> None:
    with pytest.raises(ValidationError, match="printable ASCII") as caught:
        QdrantSettings(url="http://qdrant", api_key=SecretStr(key))
    assert not key.strip() or key.strip() not in str(caught.value)
