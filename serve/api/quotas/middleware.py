"""Charges every request that has a key, before its body is read."""

from __future__ import annotations

from contextlib import ExitStack

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cluster.core.roles import Permission, grants
from cluster.stores.db import Principal
from serve.api.auth import path_of
from serve.api.problems import QuotaExceededError, response_for
from serve.api.quotas.limits import Quota
from serve.api.quotas.quotas import Quotas

# What a route costs besides, for those who may use it: who may not shall not use it up for others.
_BY_ROUTE = {
    ("POST", "/v1/detect"): (Quota.DETECT, Permission.IMAGE_DETECT),
    ("POST", "/v1/search"): (Quota.SEARCH, Permission.OBJECT_SEARCH),
}


class ChargeRequests:
    """ASGI middleware behind `RequireKey`.

    Args:
        max_upload_bytes: what an upload costs that does not say how long it is.
    """

    def __init__(self, app: ASGIApp, quotas: Quotas, max_upload_bytes: int) -> None:
        self._app = app
        self._quotas = quotas
        self._max_upload_bytes = max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        principal: Principal | None = scope.get("state", {}).get("principal")
        if scope["type"] != "http" or principal is None:
            await self._app(scope, receive, send)
            return
        limits = await self._quotas.limits(principal.tenant)
        admission = await self._quotas.admit(principal, self._costs(scope, principal), limits)

        async def with_fields(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(admission.fields)
            await send(message)

        with ExitStack() as stack:
            try:
                if admission.error is not None:
                    raise admission.error
                stack.enter_context(self._quotas.running(principal, limits))
            except QuotaExceededError as error:
                await response_for(error)(scope, receive, with_fields)
                return
            await self._app(scope, receive, with_fields)

    def _costs(self, scope: Scope, principal: Principal) -> dict[Quota, int]:
        costs = {Quota.REQUESTS: 1}
        quota, permission = _BY_ROUTE.get((scope["method"], path_of(scope)), (None, None))
        if quota is None or permission is None or not grants(principal.role, permission):
            return costs
        costs[quota] = 1
        if size := self._declared(scope):
            costs[Quota.UPLOAD_BYTES] = size
        return costs

    def _declared(self, scope: Scope) -> int:
        """Bytes of the body; the most that there may be where it comes in pieces of any number."""
        headers = dict(scope["headers"])
        if b"transfer-encoding" in headers:
            return self._max_upload_bytes
        declared = headers.get(b"content-length", b"0")
        # `LimitBody` has refused what is longer.
        return min(int(declared), self._max_upload_bytes) if declared.isdigit() else 0
