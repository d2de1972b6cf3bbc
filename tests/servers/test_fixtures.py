"""The fixtures give servers that answer, and own ones that can be killed, frozen and restarted."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from deploy.local import addresses
from deploy.local.ports import HOST
from deploy.local.server import Server
from tests.servers.plugin import Run, port_of
from tests.servers.proxy import Proxy


def ping(port: int, timeout: float = 60.0) -> bytes:
    with socket.create_connection((HOST, port), timeout=timeout) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(16)


def test_a_shared_server_is_started_once(server_run: Run) -> None:
    assert server_run.address("redis") == server_run.address("redis")
    assert ping(port_of(server_run.address("redis").url)) == b"+PONG\r\n"


def test_an_own_server_survives_what_is_done_to_it(own_server: Callable[..., Server]) -> None:
    server = own_server("redis")
    port = server.ports["redis"]
    server.pause()
    with pytest.raises(TimeoutError):
        ping(port, timeout=0.2)
    server.resume()
    assert ping(port) == b"+PONG\r\n"
    before = server.pid
    server.kill()
    assert not server.is_alive
    with pytest.raises(ConnectionRefusedError):
        ping(port)
    server.restart()
    assert server.pid != before
    assert ping(port) == b"+PONG\r\n"
    server.pause()
    server.stop()
    assert not server.is_alive


def test_a_proxy_before_a_shared_server(
    redis: addresses.Redis, proxy: Callable[[int], Proxy]
) -> None:
    between = proxy(port_of(redis.url))
    assert ping(between.port) == b"+PONG\r\n"


def test_clients_of_the_proxy_are_told_to_stay_there(proxied_kafka: tuple[Server, Proxy]) -> None:
    broker, between = proxied_kafka
    for address, port in (
        (between.address, between.port),
        (broker.address.bootstrap, broker.ports["plain"]),
    ):
        admin = AdminClient({"bootstrap.servers": address})
        (told,) = admin.list_topics(timeout=60).brokers.values()
        assert (told.host, told.port) == (HOST, port)


def test_the_broker_signs_in_with_scram(own_server: Callable[..., Server]) -> None:
    broker = own_server("kafka").address
    properties = {
        "bootstrap.servers": broker.sasl,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": broker.user,
    }
    admin = AdminClient({**properties, "sasl.password": broker.password})
    assert len(admin.list_topics(timeout=60).brokers) == 1
    failures: list[str] = []
    wrong = {"sasl.password": "wrong", "error_cb": lambda error: failures.append(error.name())}
    admin = AdminClient({**properties, **wrong})
    while "_AUTHENTICATION" not in failures:
        admin.poll(1)


def test_the_broker_does_not_look_for_old_records_while_tests_run(kafka: addresses.Kafka) -> None:
    """It would 30 s after each start, and remove what a test has written with times of the past."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    resource = ConfigResource(ResourceType.BROKER, "1")
    config = admin.describe_configs([resource])[resource].result(30)
    for name in ("log.initial.task.delay.ms", "log.retention.check.interval.ms"):
        assert int(config[name].value) >= 86_400_000, name
