"""``python -m ringline.host gateway``: the native sidecar that owns a pod's session, from its first probe to its last words."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Coroutine, Mapping

from ringline import names
from ringline.errors import RinglineError
from ringline.graph.handover import session_plan
from ringline.graph.session_plan import SessionPlan
from ringline.host.gateway import Gateway
from ringline.host.gateway_http import StatusServer
from ringline.host.gateway_parameters import Parameters
from ringline.host.ingress_ws import WebSocketIngress
from ringline.node import termination
from ringline.node.logs import configure
from ringline.node.pod_settings import INGRESS_PORT, PodEnvironment, port

log = logging.getLogger("ringline.host")


def run_gateway(environ: Mapping[str, str], listener: socket.socket) -> int:
    """Own the pod's session until SIGTERM. Gives the container's exit code: 0 unless the session failed."""
    pod = PodEnvironment.from_environ(environ)
    configure(pod.log_format, pod.labels)
    try:
        plan = session_plan(pod.plan_file.read_bytes(), environ.get(names.ENV_SESSION, ""))
        return asyncio.run(_serve(pod, plan, environ, listener))
    except (RinglineError, OSError) as error:
        words = {"node": "gateway", "exitCode": 1, "reason": type(error).__name__, "message": str(error)}
        termination.leave_words(pod.termination_log, words, termination.LONGEST)
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1


async def _serve(pod: PodEnvironment, plan: SessionPlan, environ: Mapping[str, str], listener: socket.socket) -> int:
    return await _Main(pod, plan, environ, listener).run()


class _Main:
    """The gateway's tasks, in the order of their beginning and their end."""

    def __init__(
        self, pod: PodEnvironment, plan: SessionPlan, environ: Mapping[str, str], listener: socket.socket
    ) -> None:
        self._pod = pod
        self._plan = plan
        self._gateway = Gateway(pod, plan, self._drain)
        self._status = StatusServer(self._gateway, listener)
        self._ingress = WebSocketIngress(
            self._gateway,
            token=environ.get(names.ENV_INGRESS_TOKEN, ""),
            port=port(environ, names.ENV_INGRESS_PORT, INGRESS_PORT),
        )
        self._parameters = Parameters(self._gateway, pod.plan_folder / names.PARAMETERS_FILE)
        self._draining: asyncio.Future[None] | None = None

    async def run(self) -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await self._status.start()
        tasks = [loop.create_task(work, name=name) for name, work in self._work()]
        try:
            await stop.wait()
            await self._drain()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._gateway.close()
        await self._status.close()
        return self._leave()

    def _work(self) -> list[tuple[str, Coroutine[object, object, None]]]:
        return [
            ("ringline-session", self._gateway.run()),
            ("ringline-ingress", self._ingress.run()),
            ("ringline-parameters", self._parameters.watch()),
        ]

    def _drain(self) -> asyncio.Future[None]:
        """End the session once, whoever asks: the preStop hook, SIGTERM, or both."""
        if self._draining is None:
            self._draining = asyncio.ensure_future(self._gateway.drain())
        return self._draining

    def _leave(self) -> int:
        words = self._gateway.last_words()
        limit = termination.share(len(self._plan.nodes) + 1)
        termination.leave_words(self._pod.termination_log, words, limit)
        log.info("session %s: %s", self._gateway.phase.lower(), words["reason"])
        return int(self._gateway.phase == "Failed")
