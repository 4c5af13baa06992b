"""The section `ray` of the settings: the cluster that this process is part of."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from cluster.core.section import Port, Section


class RaySettings(Section):
    address: str | None = Field(None, description="a running cluster; default: start one here")
    namespace: str = "atalaia"
    dashboard_port: Port = 8265
    object_store_mb: Annotated[int, Field(ge=80)] = 512
    num_cpus: Annotated[int, Field(ge=1)] | None = Field(
        None, description="CPUs that the local cluster hands out; default: those of the machine"
    )
    worker_resource: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")] | None = Field(
        None,
        description="a resource that only the nodes for our actors have: controller, listener, "
        "bridges and hosts then keep off the others, such as the head; default: any node",
    )
    work_keys: tuple[SecretStr, ...] = Field(
        (),
        description="sign the orders that say whose work a call inside the cluster is, at least 32 "
        "characters each, the same for every process; the first signs, the others only verify; "
        "default: derived from livekit.api_secret",
    )

    @property
    def worker_resources(self) -> dict[str, float]:
        """What an actor of ours asks for, besides CPUs; so little that a node never runs out."""
        return {self.worker_resource: 0.001} if self.worker_resource else {}
