"""Servers that are part of this project: the contract fake of Pinecone, the reference registry."""

from __future__ import annotations

import signal
import sys

import grpc

from deploy.local import addresses
from deploy.local.kinds.base import HERE, Launch, Place, plain_environment
from deploy.local.ports import HOST
from deploy.local.web import ask
from schemas.proto.registry_pb2 import BatchGetModelsRequest
from schemas.proto.registry_pb2_grpc import RegistryServiceStub

_ROOT = HERE.parents[1]


class PineconeKind:
    """``python -m deploy.local.pinecone``; ``arguments`` are added to its command line."""

    name = "pinecone"
    ports: tuple[str, ...] = ("http",)
    secrets: tuple[str, ...] = ("api_key",)
    stop_signal: signal.Signals = signal.SIGTERM
    needs: tuple[str, ...] = ()

    def fetch_needs(self) -> tuple[str, ...]:
        return ()

    def fetch(self) -> None: ...

    def prepare(self, place: Place) -> Launch:
        return _python("deploy.local.pinecone", place, place.ports["http"])

    def is_ready(self, place: Place) -> bool:
        headers = {"Api-Key": place.secrets["api_key"]}
        answer = ask(place.ports["http"], "/describe_index_stats", {}, headers=headers)
        return answer.status == 200 and "dimension" in answer.body

    def address(self, place: Place) -> addresses.Pinecone:
        host = f"http://{HOST}:{place.ports['http']}"
        return addresses.Pinecone(host=host, api_key=place.secrets["api_key"])


class RegistryKind:
    """``python -m deploy.local.registry``; ``arguments`` are added to its command line."""

    name = "registry"
    ports: tuple[str, ...] = ("grpc",)
    secrets: tuple[str, ...] = ()
    stop_signal: signal.Signals = signal.SIGTERM
    needs: tuple[str, ...] = ()

    def fetch_needs(self) -> tuple[str, ...]:
        return ()

    def fetch(self) -> None: ...

    def prepare(self, place: Place) -> Launch:
        return _python("deploy.local.registry", place, place.ports["grpc"])

    def is_ready(self, place: Place) -> bool:
        with grpc.insecure_channel(self.address(place).target) as channel:
            stub = RegistryServiceStub(channel)  # type: ignore[no-untyped-call]
            try:
                stub.BatchGetModels(BatchGetModelsRequest(), timeout=2)
            except grpc.RpcError:
                return False
        return True

    def address(self, place: Place) -> addresses.Registry:
        return addresses.Registry(target=f"{HOST}:{place.ports['grpc']}")


def _python(module: str, place: Place, port: int) -> Launch:
    more = tuple(place.options.get("arguments", ()))
    argv = (sys.executable, "-m", module, "--port", str(port), *more)
    env = plain_environment(place.folder) | {"PYTHONPATH": str(_ROOT)}
    if "api_key" in place.secrets:
        env["PINECONE_API_KEY"] = place.secrets["api_key"]
    return Launch(argv, env, place.folder)
