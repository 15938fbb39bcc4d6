from __future__ import annotations

from stepgres_service.server import Coordinator
from stepgres_worker import AsyncClient
from tests.integration.cli.conftest import Cli


async def test_a_unique_part_of_an_id_is_enough(cli: Cli, coordinator: Coordinator) -> None:
    async with AsyncClient(f"127.0.0.1:{coordinator.port}") as client:
        await client.create_flow("f")
        ids = [(await client.start_run("f")).id for _ in range(3)]
    for part in (ids[1][-12:], ids[1][-12:].upper(), ids[1]):
        said = await cli("run", "get", part)
        assert said.code == 0, said.err
        assert ids[1] in said.out
    alike = await cli("run", "get", ids[0][:4])
    assert alike.code == 2
    assert "fits 3 runs" in alike.err
    assert ids[2] in alike.err
    for wrong, says in (("ffff0000", "none of the newest 3 runs"), ("xyz", "is no run id")):
        said = await cli("run", "cancel", wrong)
        assert said.code == 2
        assert says in said.err
