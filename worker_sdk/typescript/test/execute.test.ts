import assert from "node:assert/strict";
import { test } from "node:test";
import { ServerCredentials } from "@grpc/grpc-js";

import {
  Client,
  Flow,
  MissingHandlers,
  parseJson,
  RunFailed,
  type ExecuteOptions,
  type MapInput,
} from "../src/index.js";
import { RunStatus } from "../src/gen/stepgres/v1/common.js";
import { CreateFlowResponse, FlowServiceService, GetFlowResponse } from "../src/gen/stepgres/v1/flow.js";
import {
  Run,
  RunServiceService,
  StartRunResponse,
  type StartRunRequest,
  type WatchRunResponse,
} from "../src/gen/stepgres/v1/run.js";
import type { Result } from "../src/gen/stepgres/v1/worker.js";
import { Coordinator, Lines, task } from "./coordinator.js";
import { gate } from "./serving.js";

type Done<Answer> = (error: null, answer: Answer) => void;

/** A coordinator that stores the flow `sums`, with the steps `double` and `total`, and starts runs. */
class Flows {
  readonly started: StartRunRequest[] = [];
  readonly options: ExecuteOptions = { logger: new Lines() };
  readonly #ended = gate<Partial<Run>>();

  start(): Promise<Coordinator> {
    const stored = (slug: string, handler = `sums.${slug}`): object => ({ definition: { slug, handler } });
    const getFlow = (_: unknown, done: Done<GetFlowResponse>): void =>
      done(
        null,
        GetFlowResponse.fromPartial({
          flow: { slug: "sums", version: 3, steps: ["double", "total"].map((slug) => stored(slug)) },
        }),
      );
    const createFlow = (_: unknown, done: Done<CreateFlowResponse>): void =>
      done(null, CreateFlowResponse.fromPartial({ created: true }));
    const startRun = ({ request }: { request: StartRunRequest }, done: Done<StartRunResponse>): void => {
      this.started.push(request);
      done(null, StartRunResponse.fromPartial({ run: { runId: "r" }, created: true }));
    };
    const watchRun = async (call: { write(frame: WatchRunResponse): void; end(): void }): Promise<void> => {
      const end = Run.fromPartial({ runId: "r", ...(await this.#ended.opened) });
      call.write({ frame: { $case: "end", value: end }, cursor: "1" });
      call.end();
    };
    return new Coordinator().start(ServerCredentials.createInsecure(), [
      [FlowServiceService, { getFlow, createFlow } as never],
      [RunServiceService, { startRun, watchRun } as never],
    ]);
  }

  /** Welcomes every worker that comes. */
  async welcome(coordinator: Coordinator): Promise<never> {
    for (;;) await (await coordinator.next()).welcome();
  }

  /** Ends the run. */
  end(run: Partial<Run>): void {
    this.#ended.open(run);
  }
}

const output = ({ outcome }: Result): unknown =>
  outcome?.$case === "completed" ? parseJson(outcome.value.output.toString()) : outcome;

const functions = {
  double: ({ item }: MapInput<number>) => item * 2,
  "sums.total": ({ double }: { double: number[] }) => double.reduce((a, b) => a + b, 0),
};

void test(
  "execute serves its run alone, in a scope of its own, and returns the output",
  { timeout: 20_000 },
  async () => {
    const flows = new Flows();
    using coordinator = await flows.start();
    using client = new Client({ target: coordinator.target });
    const executed = client.execute<{ total: number }>("sums", [1, 2], functions, flows.options);
    const stream = await coordinator.next();
    const { subscriptions, worker } = await stream.welcome();
    const [started] = flows.started;
    assert.ok(started);
    assert.equal(worker, "execute sums");
    assert.match(started.scope, /^execute-[0-9a-f]{32}$/);
    assert.deepEqual(started.definition, { $case: "flow", value: "sums" });
    assert.equal(started.version, 3);
    assert.deepEqual(
      subscriptions.map(({ scope, handlers }) => [scope, handlers.map(({ name }) => name)]),
      [[started.scope, ["sums.double", "sums.total"]]],
    );
    stream.hand(task("double", { handler: "sums.double", json: { item: 21, index: 0 } }));
    const results = await stream.results(1);
    assert.deepEqual(results.map(output), [42]);
    stream.ack(results);
    flows.end({ status: RunStatus.COMPLETED, output: Buffer.from('{"total":6}') });
    await stream.next("goodbye");
    assert.deepEqual(await executed, { total: 6 });
  },
);

void test("the same key means the same scope, in every language; without one no two are equal", async () => {
  const flows = new Flows();
  using coordinator = await flows.start();
  using client = new Client({ target: coordinator.target });
  void flows.welcome(coordinator);
  flows.end({ status: RunStatus.COMPLETED, output: Buffer.from("{}") });
  for (const idempotencyKey of ["order-7", "order-7", "", ""]) {
    await client.execute("sums", {}, functions, { ...flows.options, idempotencyKey });
  }
  const scopes = flows.started.map(({ scope }) => scope);
  // sha256("sums\norder-7"), as the Python SDK makes it.
  assert.deepEqual(scopes.slice(0, 2), Array(2).fill("execute-3e74090caa568206f49a5ddf150d835d"));
  assert.equal(new Set(scopes).size, 3);
});

void test("a flow in code is registered and brings its functions; a plan's handlers are its steps", async () => {
  const flows = new Flows();
  using coordinator = await flows.start();
  using client = new Client({ target: coordinator.target });
  void flows.welcome(coordinator);
  flows.end({ status: RunStatus.COMPLETED, output: Buffer.from("{}") });
  const sums = new Flow<number[]>("sums");
  const double = sums.map("double", ({ item }) => item * 2);
  sums.step("total", ({ double: all }) => all.length, { dependsOn: [double] });
  await client.execute(sums, [1], {}, flows.options);
  await client.execute([{ slug: "words" }], {}, { words: () => 1 }, flows.options);
  assert.deepEqual(
    flows.started.map(({ definition }) => definition?.$case),
    ["flow", "plan"],
  );
});

void test("missing and strange functions are refused before anything starts", async () => {
  const flows = new Flows();
  using coordinator = await flows.start();
  using client = new Client({ target: coordinator.target });
  await assert.rejects(client.execute("sums", {}, { double: functions.double }), (error) => {
    assert.ok(error instanceof MissingHandlers);
    assert.deepEqual([error.flow, error.steps], ["sums", ["total"]]);
    return true;
  });
  await assert.rejects(
    client.execute("sums", {}, { ...functions, doubel: () => 1 }),
    /has no step doubel; its steps are double, total/,
  );
  const twice = [
    { slug: "a", handler: "h" },
    { slug: "b", handler: "h" },
  ];
  await assert.rejects(client.execute(twice, {}, { a: () => 1, b: () => 2 }), /handler h is bound to another function/);
  assert.equal(flows.started.length, 0);
});

void test(
  "execute throws what became of the run, and what its caller's patience allows",
  { timeout: 20_000 },
  async () => {
    const flows = new Flows();
    using coordinator = await flows.start();
    using client = new Client({ target: coordinator.target });
    void flows.welcome(coordinator);
    const patient = { ...flows.options, timeoutS: 0.2 };
    await assert.rejects(client.execute("sums", {}, functions, patient), { name: "WaitTimeout" });
    const signal = AbortSignal.timeout(200);
    await assert.rejects(client.execute("sums", {}, functions, { ...flows.options, signal }), { name: "TimeoutError" });
    flows.end({
      status: RunStatus.FAILED,
      error: { step: "total", taskIndex: 0, code: "NO", message: "why", attempt: 3 },
    });
    await assert.rejects(client.execute("sums", {}, functions, flows.options), RunFailed);
  },
);
