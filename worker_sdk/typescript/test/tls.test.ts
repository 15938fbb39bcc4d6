import assert from "node:assert/strict";
import { test } from "node:test";
import { ServerCredentials, type Metadata } from "@grpc/grpc-js";

import { Client, Unavailable, Worker } from "../src/index.js";
import { RunServiceService, StartRunResponse } from "../src/gen/stepgres/v1/run.js";
import { certificate } from "./certificate.js";
import { Coordinator, Lines, task } from "./coordinator.js";

const server = certificate("stepgres.test");
const ours = certificate("worker.test");

/** A coordinator behind TLS that takes only peers with our certificate; its runs' flow is the token that it saw. */
function start(): Promise<Coordinator> {
  const keys = [{ cert_chain: server.cert, private_key: server.key }];
  const startRun = (
    { metadata }: { metadata: Metadata },
    done: (error: null, answer: StartRunResponse) => void,
  ): void => done(null, StartRunResponse.fromPartial({ run: { flow: String(metadata.get("authorization")[0]) } }));
  return new Coordinator().start(ServerCredentials.createSsl(ours.cert, keys, true), [
    [RunServiceService, { startRun: startRun as never }],
  ]);
}

void test("client and worker speak TLS with certificates of both sides, and send their token", async () => {
  using coordinator = await start();
  const tls = { ca: server.cert, ...ours, serverName: "stepgres.test" };
  const options = { target: coordinator.target, tls, token: async () => "secret" };
  using client = new Client(options);
  assert.equal((await client.startRun("f")).flow, "Bearer secret");

  const worker = new Worker({ ...options, logger: new Lines() }).step("echo", (input) => input);
  const served = worker.serve();
  const stream = await coordinator.next();
  await stream.welcome();
  assert.equal(stream.token, "Bearer secret");
  stream.hand(task("one"));
  stream.ack(await stream.results(1));
  worker.stop();
  await stream.next("goodbye");
  assert.equal(await served, 0);
});

void test("a certificate that is not trusted, or of another host, is refused and named in the error", async () => {
  using coordinator = await start();
  const strangers = [
    { tls: { ...ours, serverName: "stepgres.test" }, cause: /its certificate is not trusted/ },
    { tls: { ca: ours.cert, ...ours, serverName: "stepgres.test" }, cause: /its certificate is not trusted/ },
    { tls: { ca: server.cert, ...ours, serverName: "other.test" }, cause: /its certificate is not trusted/ },
  ];
  for (const { tls, cause } of strangers) {
    using client = new Client({ target: coordinator.target, tls, timeoutS: 1 });
    await assert.rejects(client.startRun("f"), (error) => {
      assert.ok(error instanceof Unavailable, String(error));
      assert.match(String(error.cause), cause);
      return true;
    });
  }
});
