"""URLs and texts without the users, passwords and tokens in them."""

from __future__ import annotations

import re

URL = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]*)://(?P<host>[^/?#]*)(?P<path>[^?#]*)(?P<rest>.*)", re.DOTALL)


def without_secrets(text: str) -> str:
    """The text with the user, the password, the query and the fragment cut out of every URL in it."""
    return re.sub(r"[A-Za-z][\w+.-]*://\S+", lambda found: url_without_secrets(found[0]), text)


def url_without_secrets(url: str) -> str:
    """The scheme, host, port and path of a URL; the scheme alone if it is unclear where a password ends."""
    parts = URL.fullmatch(url)
    if parts is None or is_file(parts):
        return url
    if is_unclear(url):
        return f"{parts['scheme']}://..."
    return f"{parts['scheme']}://{parts['host'].rpartition('@')[2]}{parts['path']}"


def is_unclear(url: str) -> bool:
    """Whether a URL with a user or password has an @ besides the one that ends these. It is probably part of
    a password, and so may be what follows it."""
    parts = URL.fullmatch(url)
    if parts is None or is_file(parts):
        return False
    host = parts["host"]
    in_path = "@" in parts["path"] and not {":", "@"}.isdisjoint(host)
    return in_path or "@" in parts["rest"] or host.count("@") > 1


def is_file(parts: re.Match[str]) -> bool:
    """Whether a URL names a file, in whose path an @ is an ordinary character."""
    return not parts["host"] and parts["scheme"].partition("+")[0] in ("sqlite", "file")
