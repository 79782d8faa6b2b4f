"""Who may change something or read labels. Reranking and health are open to everyone.

With API_TOKEN set, whoever shows it may. Without it, only clients on this machine may: and because a web page that
somebody opens here can also send requests to this machine, one that a browser says comes from another site is refused.
On a Space, the people in ADMIN_USERS may as well, once they are signed in.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from errors import NotAllowed, TokenRequired
from settings import Settings


class Access:
    """Decides who may change something."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def check(
        self, client_host: str | None, headers: Mapping[str, str], token: str | None = None, user: str | None = None
    ) -> None:
        """Return if this client may change something and read labels.

        `token` is what it showed, `user` the name it is signed in under. Raises TokenRequired or NotAllowed.
        """
        if user and user in self.settings.admin_users:
            return
        if self.settings.api_token:
            if token is None or not hmac.compare_digest(token.encode(), self.settings.api_token.encode()):
                raise TokenRequired("This needs the API token: send it as `Authorization: Bearer <token>`.")
            return
        if not (is_loopback(client_host) and all(is_loopback(host) for host in _forwarded_for(headers))):
            raise NotAllowed(
                "This is allowed only from the machine that the workbench runs on. "
                "To allow it from elsewhere, its owner has to set API_TOKEN."
            )
        if is_from_another_site(headers):
            raise NotAllowed("This request comes from a page of another site. Set API_TOKEN to allow it.")

    def check_header(self, client_host: str | None, headers: Mapping[str, str]) -> None:
        """`check` for an HTTP request, whose token is in its Authorization header."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        self.check(client_host, headers, token.strip() if scheme.lower() == "bearer" else None)


def is_loopback(host: str | None) -> bool:
    """Whether a client's address is one of this machine's own."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def is_from_another_site(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that this request was made by a page of another site.

    A page of another site names itself in `Origin`, also when it is served from another port of this machine; one that
    has pointed its own name at this machine (DNS rebinding) gives itself away in `Host`.
    """
    origin, host = headers.get("origin"), headers.get("host", "")
    scheme = (origin or "http").partition("://")[0]
    ours = _site(f"{scheme}://{host}")
    if origin is not None and _site(origin) != ours:
        return True
    return not (ours[0] == "localhost" or is_loopback(ours[0]))


def _forwarded_for(headers: Mapping[str, str]) -> list[str]:
    """The clients that a proxy in front says it speaks for."""
    return [address.strip() for address in headers.get("x-forwarded-for", "").split(",") if address.strip()]


def _site(url: str) -> tuple[str, int | None]:
    """The host and the port of a URL; ("", None) for what is not one."""
    try:
        parts = urlsplit(url)
        return parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return "", None
