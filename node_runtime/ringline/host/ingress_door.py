"""Who may in: what a WebSocket handshake asks for, and the HTTP status that refuses it. Pure but for the clock of `Failures`."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from ringline.host.ingress_forms import PCM, RINGLINE
from ringline.host.ingress_rates import Failures
from ringline.names import canonical

BEARER: Final = "ringline.bearer."
"""A browser can't send headers: it offers the token as one more sub-protocol."""
MAX_CLIENTS: Final = 64


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asked for; "" where it does not want to send or to hear."""

    input: str = ""
    output: str = ""
    rate: int = 16000
    channels: int = 1


class Refusal(Exception):
    """Why a client is not let in."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class Door:
    """Checks handshakes against the token and the session's ends."""

    def __init__(self, token: str, inputs: Collection[str], outputs: Collection[str]) -> None:
        self._token = token.encode()
        self._inputs = {canonical(name): name for name in inputs}
        self._outputs = {canonical(name): name for name in outputs}
        self._failures = Failures(most=20, window_s=10.0)

    def admit(self, path: str, authorization: str, offered: Sequence[str]) -> Wish:
        """Give what the client wants. Raises `Refusal`: 401, 404, 400, or 429 while wrong tokens rain."""
        if self._failures.too_many:
            raise Refusal(HTTPStatus.TOO_MANY_REQUESTS, "too many wrong tokens; wait ten seconds")
        given = [authorization[7:].strip()] if authorization[:7].lower() == "bearer " else []
        given += [offer.removeprefix(BEARER) for offer in offered if offer.startswith(BEARER)]
        # All are compared, so that nothing is told by the time that it takes.
        if not sum([hmac.compare_digest(token.encode(), self._token) for token in given]):
            self._failures.note()
            raise Refusal(HTTPStatus.UNAUTHORIZED, "a bearer token is needed: the one in the pipeline's tokenSecretRef")
        return self._wish(path)

    def _wish(self, path: str) -> Wish:
        url = urlsplit(path)
        words = [unquote(word) for word in url.path.strip("/").split("/")]
        numbers = parse_qs(url.query)
        try:
            rate, channels = (
                int(numbers.get(name, [default])[0]) for name, default in (("rate", "16000"), ("channels", "1"))
            )
        except ValueError:
            raise Refusal(HTTPStatus.BAD_REQUEST, "rate and channels are whole numbers") from None
        match words:
            case ["v1", "inputs", name]:
                return Wish(self._known("input", name), "", rate, channels)
            case ["v1", "outputs", name]:
                return Wish("", self._known("output", name), rate, channels)
            case ["v1", "inputs", sent, "outputs", heard]:
                return Wish(self._known("input", sent), self._known("output", heard), rate, channels)
        raise Refusal(
            HTTPStatus.NOT_FOUND, "there are /v1/inputs/NAME, /v1/outputs/NAME and /v1/inputs/NAME/outputs/NAME"
        )

    def _known(self, kind: str, name: str) -> str:
        names = self._inputs if kind == "input" else self._outputs
        if canonical(name) not in names:
            listed = ", ".join(names.values()) or "none"
            raise Refusal(HTTPStatus.NOT_FOUND, f"the session has no {kind} {name!a} (it has: {listed})")
        return names[canonical(name)]


def chosen(offered: Sequence[str]) -> str | None:
    """Choose the sub-protocol: the first offered one that is spoken here; None offered means `pcm`, unnamed."""
    return next((offer for offer in offered if offer in (RINGLINE, PCM)), None)
