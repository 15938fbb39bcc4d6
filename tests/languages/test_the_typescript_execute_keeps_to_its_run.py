"""`client.execute` of the TypeScript SDK in processes of its own, against a coordinator, beside that of Python."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from stepgres_worker import Client, Step
from tests.acceptance.processes import environment, start_dev
from tests.languages.typescript import SDK, build, need_node

#: Multiplies by its first argument; its second one is the idempotency key.
PROGRAM = """
import { Client } from "./dist/src/index.js";

const [factor, idempotencyKey] = process.argv.slice(1);
const functions = {
  multiply: ({ item }) => item * Number(factor),
  sum: ({ multiply }) => multiply.reduce((a, b) => a + b, 0),
};
const client = new Client();
console.log(JSON.stringify(await client.execute("product", [1, 2, 3], functions, { idempotencyKey, timeoutS: 60 })));
client.close();
"""


def execute(target: str, factor: int, key: str = "") -> object:
    """What a process of its own prints."""
    command = ["node", "--input-type=module", "-e", PROGRAM, str(factor), key]
    answer = subprocess.run(
        command,
        cwd=SDK,
        env=environment(STEPGRES_TARGET=target),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return json.loads(answer.stdout)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_process_gets_the_result_of_its_own_functions_and_a_key_is_one_run_for_both_languages():
    need_node()
    build()
    dev, target = start_dev()
    with dev, Client(target) as client:
        client.create_flow("product", [Step("multiply", step_type="map"), Step("sum", ["multiply"])])
        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(lambda factor: execute(target, factor), range(12))) == [
                {"sum": 6 * factor} for factor in range(12)
            ]
        assert execute(target, 7, "order-7") == {"sum": 42}
        ours = {"multiply": lambda input: input["item"], "sum": lambda input: sum(input["multiply"])}
        assert client.execute("product", [1, 2, 3], ours, idempotency_key="order-7", timeout=60) == {"sum": 42}
        assert len([run for run in client.list_runs(flow="product") if run.idempotency_key]) == 1
