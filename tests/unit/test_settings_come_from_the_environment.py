"""Settings: where values come from, which counts, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepgres_service.config import Settings
from stepgres_service.engine.settings import EngineSettings
from stepgres_service.errors import SetupError
from stepgres_service.server import _engine_settings


@pytest.fixture(autouse=True)
def _no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)


def test_a_value_comes_from_its_variable(monkeypatch):
    monkeypatch.setenv("STEPGRES_DATABASE_URL", "postgresql://a")
    monkeypatch.setenv("STEPGRES_LANES", "3")

    settings = Settings()

    assert (settings.database_url, settings.lanes) == ("postgresql://a", 3)


def test_database_url_is_the_fallback(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://fallback")
    assert Settings().database_url == "postgresql://fallback"

    monkeypatch.setenv("STEPGRES_DATABASE_URL", "postgresql://ours")
    assert Settings().database_url == "postgresql://ours"


def test_a_secret_may_come_from_a_file(monkeypatch, tmp_path: Path):
    secret = tmp_path / "url"
    secret.write_text("postgresql://file\n")
    monkeypatch.setenv("STEPGRES_DATABASE_URL_FILE", str(secret))
    monkeypatch.setenv("DATABASE_URL", "postgresql://fallback")

    assert Settings().database_url == "postgresql://file"


def test_what_is_given_counts_most(monkeypatch, tmp_path: Path):
    secret = tmp_path / "url"
    secret.write_text("postgresql://file")
    monkeypatch.setenv("STEPGRES_DATABASE_URL_FILE", str(secret))
    monkeypatch.setenv("STEPGRES_DATABASE_URL", "postgresql://env")

    assert Settings(database_url="postgresql://given").database_url == "postgresql://given"


def test_a_missing_file_is_named(monkeypatch):
    monkeypatch.setenv("STEPGRES_DATABASE_URL_FILE", "/nowhere/url")

    with pytest.raises(
        SetupError, match=r"STEPGRES_DATABASE_URL_FILE: /nowhere/url cannot be read .*; name a readable"
    ):
        Settings()


def test_a_missing_address_is_told_with_the_ways_out():
    with pytest.raises(SetupError, match=r"STEPGRES_DATABASE_URL is not set; .*stepgres dev"):
        Settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("STEPGRES_LANES", "0"),
        ("STEPGRES_LANES", "two"),
        ("STEPGRES_LISTEN", "50051"),
        ("STEPGRES_LISTEN", "localhost:70000"),
        ("STEPGRES_MAX_ITEMS", "1000001"),
        ("STEPGRES_LOG_LEVEL", "loud"),
        ("STEPGRES_POOL_MAX", "1"),
        ("STEPGRES_DEFAULT_QUEUE", "no queue"),
        ("STEPGRES_DEFAULT_QUEUE", "run"),
        ("STEPGRES_DEFAULT_QUEUE", "q" * 129),
    ],
)
def test_a_wrong_value_names_its_variable_and_itself(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)

    with pytest.raises(SetupError) as caught:
        Settings(database_url="postgresql://x")

    assert str(caught.value).startswith(f"{variable}: ")
    assert value in str(caught.value)
    assert ";" in str(caught.value)
    assert "Input should" not in str(caught.value)  # pydantic's words


def test_an_empty_variable_is_none(monkeypatch):
    # As a compose file makes them: STEPGRES_DEFAULT_QUEUE: ${DEFAULT_QUEUE:-}
    for variable in (
        "STEPGRES_DATABASE_URL",
        "STEPGRES_DEFAULT_QUEUE",
        "STEPGRES_LISTEN_DATABASE_URL",
        "STEPGRES_LANES",
    ):
        monkeypatch.setenv(variable, "")
    monkeypatch.setenv("DATABASE_URL", "postgresql://fallback")

    settings = Settings()

    assert (settings.database_url, settings.default_queue, settings.listen_database_url, settings.lanes) == (
        "postgresql://fallback",
        None,
        None,
        2,
    )


def test_the_engine_gets_the_numbers():
    settings = Settings(database_url="x", max_items=7, lanes=4, lease_s=3.0, max_output_bytes=99)

    engine = _engine_settings(settings)

    assert (engine.payloads.max_items, engine.lanes, engine.max_output_bytes) == (7, 4, 99)
    # A heartbeat slower than the lease allows would let leases expire between two of them.
    assert engine.heartbeat_s == pytest.approx(1.0)


def test_without_settings_the_engine_has_its_own_defaults():
    assert _engine_settings(Settings(database_url="x")) == EngineSettings()


def test_every_field_is_described():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
