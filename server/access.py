"""Who may change something or read labels, and who may label on the page. Reranking and health are open to everyone.

With API_TOKEN set, whoever shows it may. Without it, only clients on this machine may: and because a web page that
somebody opens here can also send requests to this machine, one that a browser says comes from another site is refused.
On a Space, the people in ADMIN_USERS may as well, once they are signed in; what a page of another site sends with their
cookie is not theirs.

Labelling on the page is open to whoever sees it unless LABELING says otherwise.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from errors import NotAllowed, TokenRequired
from settings import Settings


class Access:
    """Decides who may do what."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def check(
        self, client_host: str | None, headers: Mapping[str, str], token: str | None = None, user: str | None = None
    ) -> None:
        """Return if this client may change something and read labels.

        `token` is what it showed, `user` the name it is signed in under. Raises TokenRequired or NotAllowed.
        """
        if user in self.settings.admin_users and not _sent_by_another_site(headers):
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

    def labels_as(
        self,
        typed: str,
        client_host: str | None,
        headers: Mapping[str, str],
        token: str | None = None,
        user: str | None = None,
    ) -> str:
        """The name under which this client labels on the page: the one that was typed, or that of the account.

        Raises TokenRequired or NotAllowed where labelling is not for this client.
        """
        if self.settings.labeling == "closed":
            self.check(client_host, headers, token, user)
        if self.settings.labeling != "signed-in":
            return typed
        if user is None or _sent_by_another_site(headers):
            raise NotAllowed("Labelling here is for people who are signed in. Sign in with the button at the top.")
        if typed not in ("", user):
            raise NotAllowed(f"You are signed in as {user} and cannot label as {typed}. Load the page anew.")
        return user

    def check_header(self, client_host: str | None, headers: Mapping[str, str]) -> None:
        """`check` for an HTTP request, whose token is in its Authorization header."""
        self.check(client_host, headers, bearer_token(headers))


def bearer_token(headers: Mapping[str, str]) -> str | None:
    """The token in the Authorization header of a request."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


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


def _sent_by_another_site(headers: Mapping[str, str]) -> bool:
    """Whether a browser says so. It sends the cookie of whoever is signed in all the same, since a Space is shown in a
    frame of another site."""
    return headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")


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
