"""Secrets in addresses, command lines and messages."""

from __future__ import annotations

import pytest

from cmir.cli import print_error
from cmir.errors import InputError
from cmir.hidden_secrets import without_secrets


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("postgresql://me:s3cret@db/x", "postgresql://me:***@db/x"),
        ("postgresql://me:p@ss:w/rd@db/x", "postgresql://me:***@db/x"),
        ("redis://:s3cret@db/0", "redis://:***@db/0"),
        ("postgresql://db/x?user=me&password=s3cret", "postgresql://db/x?user=me&password=***"),
        ("postgresql://db/x?sslpassword=s3cret&a=1", "postgresql://db/x?sslpassword=***&a=1"),
        ("https://host/mlflow?access_token=s3cret", "https://host/mlflow?access_token=***"),
        ("https://ghp_s3cret@host/mlflow", "https://***@host/mlflow"),
        ("PGPASSWORD=s3cret psql", "PGPASSWORD=*** psql"),
        ("MLFLOW_TRACKING_TOKEN='s3 cret' mlflow ui", "MLFLOW_TRACKING_TOKEN=*** mlflow ui"),
        ("host=db password='s3 cret' dbname=x", "host=db password=*** dbname=x"),
        ('{"password": "s3cret", "user": "me"}', '{"password": ***, "user": "me"}'),
        ("Authorization: Bearer s3cret", "Authorization: Bearer ***"),
        ("s3://bucket/x?X-Amz-Signature=s3cret", "s3://bucket/x?X-Amz-Signature=***"),
    ],
)
def test_a_secret_is_hidden_wherever_an_address_or_a_setting_may_hold_it(
    given: str, shown: str
) -> None:
    assert without_secrets(given) == shown
    assert "cret" not in without_secrets(f"could not reach {given}: no route")


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////data/studies.db",
        "postgresql+psycopg://me@db:5432/studies",
        "http://127.0.0.1:5000",
        "trial 3: token vectors of 'bert' must be (N, T, D), but tokens=12 came",
        "--space search_spaces/mosi.yaml --trials 8",
    ],
)
def test_a_text_without_a_secret_stays_as_it_is(text: str) -> None:
    assert without_secrets(text) == text


def test_a_secret_of_the_environment_is_hidden_where_a_driver_quotes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGPASSWORD", "hunter-two")
    monkeypatch.setenv("PWD", "info string")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:hunter%20three@host")
    told = without_secrets('missing "=" after "hunter-two" or "hunter three" in info string')
    assert told == 'missing "=" after "***" or "***" in info string'


def test_no_error_shows_a_password(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(InputError("--storage postgresql://me:s3cret@db/x: holds no sweep 'a'."))
    assert "s3cret" not in capsys.readouterr().err
