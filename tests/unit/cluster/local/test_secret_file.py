"""Files of secrets: what is made up, what is kept, how one secret follows another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.local.secret_checks import weakness
from cluster.local.secret_file import (
    MAX_FORMER,
    RINGS,
    SecretFile,
    filled,
    finished,
    rotated,
    secrets_in,
)
from pipelines.errors import ConfigError, InputError

CONFIGS = Path(__file__).parents[4] / "configs"
EXAMPLE = SecretFile.parse((CONFIGS / "env.example").read_text(encoding="utf-8"))
EMPTY = SecretFile(())
NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,20}", fullmatch=True)
VALUES = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=20).map(
    lambda text: text.strip(" '\"")
)


@given(st.dictionaries(NAMES, VALUES), st.dictionaries(NAMES, VALUES))
def test_what_is_written_is_read(first: dict[str, str], second: dict[str, str]) -> None:
    file = SecretFile.parse("# by hand\n\n").having(first).having(second)

    again = SecretFile.parse(file.text())

    assert again == file
    assert again.values == first | second
    assert again.lines[0] == "# by hand"


@pytest.mark.parametrize("value", ["0 ", " 0", "'0'", '"0"', "a\nB=1", "\t", "0\r"])
def test_a_value_that_would_be_read_as_another_is_refused(value: str) -> None:
    with pytest.raises(InputError, match="A cannot stand") as caught:
        EMPTY.having({"A": value})
    assert repr(value) not in str(caught.value)


def test_quotation_marks_around_a_value_are_not_of_it() -> None:
    assert SecretFile.parse("A='x y'\nB=\"z\"\nC=[\"d\", \"e\"]\nD='\nE=\n").values == {
        "A": "x y", "B": "z", "C": '["d", "e"]', "D": "'", "E": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A=1\nexport B=hidden-value", "line 2 is not"),
        ("hidden-value", "line 1 is not"),
        ("a=hidden-value", "line 1 is not"),
        ("A=1\n# x\nA=hidden-value", "A occurs again in line 3"),
    ],
)
def test_a_wrong_line_is_named_and_not_shown(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refusal:
        SecretFile.parse(text)
    assert "hidden" not in f"{refusal.value} {refusal.value.hint}"


def test_every_secret_of_the_example_is_made_up_and_only_addresses_are_left() -> None:
    file, made, left = filled(EXAMPLE, EXAMPLE)

    assert left == ["ATALAIA_PUBLIC_URL", "LIVEKIT_PUBLIC_URL"]
    assert set(made) == EXAMPLE.values.keys() - set(left)
    secrets = secrets_in(file.values)
    # The names of an API key and of a login are none.
    assert secrets.keys() == set(made) - {"LIVEKIT_API_KEY", "GATEWAY_USERNAME"}
    assert len(set(secrets.values())) == len(secrets)
    assert {weakness(name, secret) for name, secret in secrets.items()} == {""}
    assert all(len(secret) == 43 for secret in secrets.values())


def test_what_has_a_value_keeps_it_and_what_is_new_is_added() -> None:
    before = SecretFile.parse("# mine\nVALKEY_PASSWORD=as-it-was\nGATEWAY_SECRET=\nOTHER=x\n")

    file, made, _ = filled(before, EXAMPLE)

    assert file.values["VALKEY_PASSWORD"] == "as-it-was"
    assert file.lines[0] == "# mine"
    assert file.lines[2].startswith("GATEWAY_SECRET=")
    assert file.lines[2] != "GATEWAY_SECRET="
    assert file.values.keys() == EXAMPLE.values.keys() | {"OTHER"}
    assert "VALKEY_PASSWORD" not in made
    assert filled(file, EXAMPLE)[0] == file


def test_what_others_made_is_not_made_up() -> None:
    template = SecretFile.parse(
        "AWS_SECRET_ACCESS_KEY=\nATALAIA_AUTH__PROVIDERS=\nATALAIA_AUTH__KEYS=\n"
    )

    file, made, left = filled(EMPTY, template)

    assert made == ["ATALAIA_AUTH__KEYS"]
    assert left == ["ATALAIA_AUTH__PROVIDERS", "AWS_SECRET_ACCESS_KEY"]
    assert len(json.loads(file.values["ATALAIA_AUTH__KEYS"])) == 1


@pytest.mark.parametrize("name", RINGS)
def test_a_rotated_secret_stays_in_its_ring_until_the_end(name: str) -> None:
    ring = RINGS[name].former
    file, _, _ = filled(EMPTY, SecretFile.parse(f"{name}=\n"))
    first = _newest(file, name)

    file = rotated(file, name)
    second = _newest(file, name)
    file = rotated(file, name)
    third = _newest(file, name)

    assert len({first, second, third}) == 3
    everything = json.loads(file.values[ring])
    assert everything == [*([third] if ring == name else []), second, first]
    file = finished(file, name)
    assert _newest(file, name) == third
    assert json.loads(file.values[ring]) == ([third] if ring == name else [])


def _newest(file: SecretFile, name: str) -> str:
    value = file.values[name]
    return str(json.loads(value)[0]) if RINGS[name].former == name else value


def test_a_ring_is_bounded() -> None:
    name = "ATALAIA_AUDIT__SECRET"
    file = SecretFile.parse(f"{name}=first\n")
    for _ in range(MAX_FORMER):
        file = rotated(file, name)
    with pytest.raises(InputError, match=r"FORMER_SECRETS would have 5") as refusal:
        rotated(file, name)
    assert "--finish" in refusal.value.hint
    assert rotated(finished(file, name), name).values.keys() == file.values.keys()


def test_what_has_no_ring_is_replaced_only_on_purpose() -> None:
    file = SecretFile.parse("GATEWAY_PASSWORD=before\nX=1\n")
    with pytest.raises(InputError, match="has no ring"):
        rotated(file, "GATEWAY_PASSWORD")
    after = rotated(file, "GATEWAY_PASSWORD", overlap=False)
    assert after.values["GATEWAY_PASSWORD"] != "before"
    assert after.values["X"] == "1"
    with pytest.raises(InputError, match="has no ring"):
        finished(file, "GATEWAY_PASSWORD")


@pytest.mark.parametrize(
    "name", ["X", "MISSING", "LIVEKIT_API_KEY", "AWS_SECRET_ACCESS_KEY", "DATABASE_DECRYPTION_KEYS"]
)
def test_only_secrets_of_ours_are_rotated(name: str) -> None:
    file = SecretFile.parse(
        "X=1\nLIVEKIT_API_KEY=a\nAWS_SECRET_ACCESS_KEY=b\nDATABASE_DECRYPTION_KEYS=[]\n"
    )
    with pytest.raises(InputError, match="is no secret of this file"):
        rotated(file, name, overlap=False)


def test_a_broken_ring_is_not_overwritten() -> None:
    file = SecretFile.parse("DATABASE_ENCRYPTION_KEY=a\nDATABASE_DECRYPTION_KEYS=hidden\n")
    for change in (rotated, finished):
        with pytest.raises(ConfigError, match="DATABASE_DECRYPTION_KEYS is no JSON list") as found:
            change(file, "DATABASE_ENCRYPTION_KEY")
        assert "hidden" not in str(found.value)


def test_secrets_are_found_in_lists_and_addresses() -> None:
    assert secrets_in(
        {
            "ATALAIA_REDIS__URL": "rediss://:of%2Dredis@redis:6379/0",
            "ATALAIA_DATABASE__TENANT_URL": "postgresql+psycopg://a:of-db@db/a",
            "ATALAIA_DATABASE__URL": "postgresql://db/a",
            "ATALAIA_REDIS__PASSWORDS": '{"api": "of-api"}',
            "ATALAIA_AUTH__KEYS": '["one", "two"]',
            "ATALAIA_RAY__WORK_KEYS": "no list",
            "ATALAIA_QDRANT__API_KEY": "of-qdrant",
            "ATALAIA_LIVEKIT__API_KEY": "a name",
            "ATALAIA_API__URL": "https://user:x@example.org",
            "AWS_ACCESS_KEY_ID": "AKIA",
            "AWS_SECRET_ACCESS_KEY": "of-aws",
        }
    ) == {
        "ATALAIA_REDIS__URL": "of-redis",
        "ATALAIA_DATABASE__TENANT_URL": "of-db",
        "ATALAIA_REDIS__PASSWORDS.api": "of-api",
        "ATALAIA_AUTH__KEYS.0": "one",
        "ATALAIA_AUTH__KEYS.1": "two",
        "ATALAIA_RAY__WORK_KEYS.0": "no list",
        "ATALAIA_QDRANT__API_KEY": "of-qdrant",
        "AWS_SECRET_ACCESS_KEY": "of-aws",
    }


@pytest.mark.parametrize(
    ("name", "secret", "why"),
    [
        ("VALKEY_PASSWORD", "k3J-x81mQz_4vTpa", ""),
        ("VALKEY_PASSWORD", "k3J-x81mQz_4vTp", "has 15 characters, and should have 16"),
        ("GATEWAY_SECRET", "k3J-x81mQz_4vTpa", "has 16 characters, and should have 32"),
        ("ATALAIA_AUTH__KEYS.0", "k3J-x81mQz_4vTpa", "has 16 characters, and should have 32"),
        ("VALKEY_PASSWORD", "abcabcabcabcabcabc", "is a pattern"),
        ("VALKEY_PASSWORD", "Atalaia-ChangeMe-2026", "has a word that everybody tries"),
        ("AWS_SECRET_ACCESS_KEY", "k3J-x81mQz_4vTpaaa", ""),
    ],
)
def test_weak_secrets_say_why(name: str, secret: str, why: str) -> None:
    assert weakness(name, secret) == why
