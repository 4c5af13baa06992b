"""The sections of the settings about stores: `redis`, `database`, `qdrant` and `blobs`."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from cluster.core.redaction import refuse_bucket_credentials
from cluster.core.section import Port, Section

_HEADER_VALUE = re.compile(r"[!-~]+")

RedisProcess = Literal["api", "agent", "bridge", "controller", "detector", "listener"]
"""A kind of process that uses Redis."""


def redis_user(process: RedisProcess) -> str:
    """The user of a kind of process in Redis, where each has its own."""
    return f"atalaia-{process}"


class RedisSettings(Section):
    url: SecretStr | None = Field(
        None, description="redis:// or rediss:// URL; default: start one on this machine"
    )
    port: Port = Field(6390, description="port of the local one")
    passwords: dict[RedisProcess, Annotated[SecretStr, Field(min_length=16)]] = Field(
        default_factory=dict,
        description="a password of 16 characters or more for each kind of process; it then signs "
        "in as atalaia-<kind>, a user whom `atalaia redis acl` describes. Default: that of `url`",
    )

    @model_validator(mode="after")
    def _users_need_a_server_that_knows_them(self) -> Self:
        if self.passwords and self.url is None:
            raise ValueError("passwords need a url: the server that is started here has no users")
        return self


class DatabaseSettings(Section):
    url: SecretStr | None = Field(
        None,
        description="SQLAlchemy async URL (postgresql+psycopg://…); default: SQLite in data_dir",
    )
    tenant_url: SecretStr | None = Field(
        None,
        description="the same PostgreSQL database, with a login that can act as a tenant only; "
        "default: `url`, whose login then takes both roles",
    )
    migration_url: SecretStr | None = Field(
        None,
        description="the same, with the login that owns the tables, for `atalaia migrate`; "
        "default: `url`",
    )
    encryption_key: SecretStr | None = Field(
        None,
        description="encrypts the URLs of cameras in the database, at least 32 characters, the "
        "same for every process; default: generated where `url` has its default, else there is "
        "none. Keep a copy apart from the database",
    )
    decryption_keys: tuple[SecretStr, ...] = Field(
        (), description="further keys that only decrypt: those of earlier times, or the next one"
    )

    @model_validator(mode="after")
    def _logins_need_a_database(self) -> Self:
        if self.url is None and (self.tenant_url or self.migration_url):
            raise ValueError("tenant_url and migration_url need a url: SQLite has no logins")
        return self


class QdrantSettings(Section):
    url: str | None = Field(None, description="Qdrant server; default: embedded in data_dir")
    api_key: SecretStr | None = None
    tokens: bool = Field(
        False,
        description="send tokens for the one collection, which expire after a minute, in place of "
        "the API key, once that is made; the server needs service.jwt_rbac",
    )

    @field_validator("url")
    @classmethod
    def _a_server(cls, url: str | None) -> str | None:
        """Raises ValueError in our words; the client would at its first call, in its own."""
        if url is None:
            return None
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise ValueError("not a URL with a port of 1 to 65535") from None
        if parts.scheme not in ("http", "https") or not host or port == 0:
            raise ValueError("must be http:// or https:// with a host, such as http://qdrant:6333")
        if parts.username is not None or parts.password is not None:
            raise ValueError("credentials do not belong into the URL; set api_key")
        if parts.query or parts.fragment or not url.isascii() or any(map(str.isspace, url)):
            raise ValueError("must be plain ASCII without spaces, query and fragment")
        return url

    @field_validator("api_key")
    @classmethod
    def _fits_into_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not _HEADER_VALUE.fullmatch(key.get_secret_value()):
            raise ValueError("must be printable ASCII without spaces: it is sent in a header")
        return key


class BlobSettings(Section):
    url: str | None = Field(
        None, description="fsspec URL (s3://…, gs://…, file://…); default: folder in data_dir"
    )

    @field_validator("url")
    @classmethod
    def _no_credentials(cls, url: str | None) -> str | None:
        if url is not None:
            refuse_bucket_credentials(url)
        return url
