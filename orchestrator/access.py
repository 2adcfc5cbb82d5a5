"""Who may see the page, its pictures and its API, and which headers keep a browser from being misled."""

import hashlib
import hmac
import logging
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from orchestrator.configuring.setting_types import is_loopback
from orchestrator.errors import SettingsError
from orchestrator.settings import MIN_TOKEN, HttpSettings

log = logging.getLogger(__name__)

# For the machines that ask them every few seconds; they show no picture and name no person.
OPEN = frozenset({"/health", "/health/live", "/health/ready", "/metrics"})

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Pictures and statuses are of people: no copy is left in a browser or a proxy.
    "Cache-Control": "no-store",
}


def _same(given: str, expected: bytes) -> bool:
    """Compare in constant time; a header may hold bytes that are no text at all."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected)


class Access:
    """One rule for every request. Raises SettingsError where the settings would let strangers in."""

    def __init__(self, settings: HttpSettings) -> None:
        token = settings.token.get_secret_value() if settings.token else ""
        if not is_loopback(settings.host) and len(token) < MIN_TOKEN:
            lack = "HTTP_TOKEN is too short" if token else "HTTP_TOKEN is not set"
            raise SettingsError(
                f"HTTP_HOST={settings.host or '(all addresses)'} can be reached by other machines, and {lack}: "
                f"set it to at least {MIN_TOKEN} characters (openssl rand -hex 32), or "
                "listen on 127.0.0.1"
            )
        self._host = settings.host
        self._token = token.encode()
        # The cookie proves that the token was known without holding it. Its name tells two
        # instances on one host apart, for cookies do not know ports.
        self._proof = hmac.new(self._token, b"fess page", hashlib.sha256).hexdigest()
        self._cookie = f"fess_{hashlib.sha256(self._proof.encode()).hexdigest()[:8]}"

    def middleware(self) -> Middleware:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            response = self._refusal(request)
            if response is None:
                response = await handler(request)
            # The query is left out: it may hold the token.
            log.debug("%s %s %d", request.method, request.rel_url.raw_path, response.status)
            return response

        return guard

    async def add_headers(self, _request: web.Request, response: web.StreamResponse) -> None:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)

    def _refusal(self, request: web.Request) -> web.StreamResponse | None:
        """The answer to a request that must not be served, or None."""
        if not self._token:
            return None if self._is_our_name(request.host) else self._misdirected(request)
        if request.path in OPEN or self._has_proof(request):
            return None
        if "token" in request.query:
            return self._exchange(request)
        return self._unauthorised(request)

    def _is_our_name(self, host_header: str) -> bool:
        """Without a token, only a loopback name is served.

        A web page elsewhere can point its own name at 127.0.0.1 and read what is here as if it were its own
        ("DNS rebinding"); its requests carry its name.
        """
        name = urlsplit(f"//{host_header}").hostname or ""
        return is_loopback(name) or name == self._host

    def _has_proof(self, request: web.Request) -> bool:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(given.strip(), self._token):
            return True
        return _same(request.cookies.get(self._cookie, ""), self._proof.encode())

    def _exchange(self, request: web.Request) -> web.StreamResponse:
        """Turn ?token= into a cookie, and lead on to the address without it."""
        if not _same(request.query["token"], self._token):
            return self._unauthorised(request)
        # raw_path begins with one slash at least; two would lead to another host.
        path = "/" + request.rel_url.raw_path.lstrip("/")
        response = web.Response(status=303, headers={"Location": path})
        response.set_cookie(
            self._cookie, self._proof, httponly=True, samesite="Lax", secure=request.secure
        )
        return response

    @staticmethod
    def _unauthorised(request: web.Request) -> web.StreamResponse:
        log.warning("%s refused: no valid token", request.rel_url.raw_path)
        return web.Response(
            status=401,
            headers={"WWW-Authenticate": "Bearer"},
            text="A token is needed: send 'Authorization: Bearer TOKEN', or open /?token=TOKEN once.\n"
            "The token is the value of HTTP_TOKEN.\n",
        )

    @staticmethod
    def _misdirected(request: web.Request) -> web.StreamResponse:
        log.warning("%s refused: asked for under a foreign name", request.rel_url.raw_path)
        return web.Response(
            status=421,
            text="Without a token this page is served as localhost and 127.0.0.1 only. "
            "To use another name, set HTTP_TOKEN.\n",
        )
