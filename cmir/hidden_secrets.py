"""Texts as they may be shown and written down: passwords and tokens in them become `***`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from urllib.parse import unquote

HIDDEN = "***"
# Up to the last @ of a word: a password may hold one.
PASSWORD = re.compile(r"(://[^:/@\s]*):(\S*)@")
# Who has a token gives it in place of the name.
TOKEN = re.compile(r"(https?://)[^:/@\s]+@")
WORDS = r"pass|password|passwd|passphrase|pwd|token|secret|api_?key|access_?key|sas|sig|signature"
SETTING = re.compile(
    rf"""(?ix) (?<![a-z]) ((?:[\w.-]*[_.-]|pg|ssl|auth|access|session)? (?:{WORDS}) ["']? \s?=\s?
    | ["'] [\w.-]* (?:{WORDS}) ["'] \s?:\s? | authorization \s? [=:] \s? (?:bearer|basic)? \s?
    | \b bearer \s ) ("[^"]*" | '[^']*' | [^\s&;,"']+)"""
)
# Not PWD, which is the folder that the shell is in.
SECRET_NAME = re.compile(rf"(?i)(?!(?:old)?pwd$)(?:.*_|pg|mysql|)(?:{WORDS}|credentials?)$")
# Shorter ones would hide half of a text.
SHORTEST = 6


def without_secrets(text: str) -> str:
    """An address, a command line or a message without its passwords and tokens.

    Whatever this process was given as a secret is hidden wherever it stands: drivers of databases
    quote it in messages of their own.

    Example:
        >>> without_secrets("--storage=postgresql+psycopg://me:secret@db/studies")
        '--storage=postgresql+psycopg://me:***@db/studies'
        >>> without_secrets("https://mlflow/?user=me&token=abc")
        'https://mlflow/?user=me&token=***'
        >>> without_secrets("PGPASSWORD=abc psql")
        'PGPASSWORD=*** psql'
    """
    text = PASSWORD.sub(rf"\1:{HIDDEN}@", text)
    text = TOKEN.sub(rf"\1{HIDDEN}@", text)
    text = SETTING.sub(rf"\1{HIDDEN}", text)
    for secret in sorted(set(_given()), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def _given() -> Iterator[str]:
    """Secrets among the arguments and in the environment, as they stand there and decoded."""
    for name, value in os.environ.items():
        if SECRET_NAME.match(name):
            yield from _long_enough(value)
    for value in (*sys.argv, *os.environ.values()):
        for _, password in PASSWORD.findall(value):
            yield from _long_enough(password)


def _long_enough(secret: str) -> Iterator[str]:
    yield from (one for one in (secret, unquote(secret)) if len(one) >= SHORTEST)
