"""What is secret in URLs, cut out of texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from memtrack.config.errors import InputError
from memtrack.config.params import load
from memtrack.config.secrets import without_secrets


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("GET http://ann:pw@host:5000/api?token=t0k failed", "GET http://host:5000/api failed"),
        ("'http://token@host', and https://a:b@c/d", "'http://host', and https://c/d"),
        ("postgresql+psycopg://me:p%40w@host/db", "postgresql+psycopg://host/db"),
        ("postgresql:///db?user=me&password=pw", "postgresql:///db"),
        ("http://ann:p/w@host", "http://..."),
        ("http://ann:p#w@host", "http://..."),
        ("http://ann:p@w@host", "http://..."),
        ("http://host/?token=s@cret", "http://..."),
        ("sqlite:////home/a@b/x.db and file:///a@b", "sqlite:////home/a@b/x.db and file:///a@b"),
        ("mail a@b, see http://host/page.", "mail a@b, see http://host/page."),
    ],
)
def test_users_passwords_and_queries_are_cut_out(text: str, left: str) -> None:
    assert without_secrets(text) == left


@pytest.mark.parametrize("line", ["tracking: http://ann:pw1@host", "tracking: {'http://ann:pw1@host': 1}"])
def test_a_mistake_that_shows_a_value_or_a_key_shows_no_password(line: str) -> None:
    text = (Path(__file__).parent / "files/valid/minimal.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(f"{text}{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match="host") as caught:
        load()
    assert "pw1" not in str(caught.value)
    assert "ann" not in str(caught.value)
