"""The proxy that the environment names for a server: HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, in capitals or
not, unless NO_PROXY leaves its host out.
"""

from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import ProxySchemeUnknown
from urllib3.util import make_headers

from mstar.errors import UserError


def find_proxy(endpoint: str) -> str | None:
    """The address of the proxy for a server; None where it is spoken to directly."""
    server, proxies = urlsplit(endpoint), getproxies()
    proxy = proxies.get(server.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(server.netloc):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def pool_to(endpoint: str, **options: Any) -> urllib3.PoolManager:
    """Connections to a server, where it is so through its proxy."""
    proxy = find_proxy(endpoint)
    return pool_through(proxy, **options) if proxy else urllib3.PoolManager(**options)


def pool_through(proxy: str, **options: Any) -> urllib3.ProxyManager:
    """Connections through a proxy, with the user and the password of its address."""
    found = urlsplit(proxy)
    user, at, _ = found.netloc.rpartition("@")
    headers = make_headers(proxy_basic_auth=unquote(user)) if at else {}
    try:
        return urllib3.ProxyManager(proxy, proxy_headers=headers, **options)
    except ProxySchemeUnknown:
        raise UserError(
            f"the environment names a proxy of the kind {found.scheme}; S3 is reached through http:// and "
            "https:// proxies alone: set HTTPS_PROXY to one, or NO_PROXY to the server's host"
        ) from None
