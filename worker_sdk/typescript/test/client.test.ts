import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Metadata, Server, ServerCredentials, status, type UntypedServiceImplementation } from "@grpc/grpc-js";

import {
  Client,
  Flow,
  NotFound,
  InvalidArgument,
  RunCancelled,
  RunFailed,
  Unavailable,
  VERSION,
  WaitTimeout,
  Worker,
} from "../src/index.js";
import { ErrorReason, RunStatus, StepStatus, StepType } from "../src/gen/stepgres/v1/common.js";
import { FlowServiceService, type CreateFlowRequest } from "../src/gen/stepgres/v1/flow.js";
import {
  RunServiceService,
  type ListRunsRequest,
  type Run,
  type StartRunRequest,
  type StepState,
  type WatchRunRequest,
  type WatchRunResponse,
} from "../src/gen/stepgres/v1/run.js";
import { BadRequest, ErrorInfo } from "../src/gen/google/rpc/error_details.js";
import { Status } from "../src/gen/google/rpc/status.js";
import { resolveTarget } from "../src/transport.js";

type Answer<Req, Res> = (
  call: { request: Req; metadata: Metadata },
  done: (error: object | null, value?: Res) => void,
) => void;

/** A server with these methods, and a client of it. */
async function serve(
  methods: UntypedServiceImplementation,
  body: (client: Client, target: string) => Promise<void>,
): Promise<void> {
  const server = new Server();
  const definition = Object.fromEntries(
    Object.entries({ ...FlowServiceService, ...RunServiceService }).filter(([name]) => name in methods),
  );
  server.addService(definition as never, methods);
  const port = await new Promise<number>((resolve) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (_, bound) => resolve(bound)),
  );
  try {
    using client = new Client({ target: `127.0.0.1:${port}`, timeoutS: 10, token: async () => "secret" });
    await body(client, `127.0.0.1:${port}`);
  } finally {
    server.forceShutdown();
  }
}

function run(changes: Partial<Run> = {}): Run {
  return {
    runId: "r",
    flow: "f",
    version: 1,
    status: RunStatus.STARTED,
    scope: "",
    idempotencyKey: "",
    revision: 1,
    steps: [],
    error: undefined,
    input: Buffer.alloc(0),
    output: Buffer.alloc(0),
    startTime: new Date(0),
    endTime: undefined,
    stepCount: 0,
    remainingSteps: 0,
    ...changes,
  };
}

function step(slug: string, revision: number, status: StepStatus = StepStatus.STARTED): StepState {
  return {
    step: slug,
    stepIndex: slug.charCodeAt(0),
    stepType: StepType.MAP,
    status,
    counts: undefined,
    remainingDeps: 0,
    startTime: undefined,
    endTime: undefined,
    output: Buffer.alloc(0),
    revision,
    dependsOn: [],
    unserved: false,
  };
}

void test("a refusal has its class, code, reason, metadata and violations", async () => {
  const details = [
    {
      typeUrl: "type.googleapis.com/google.rpc.ErrorInfo",
      value: Buffer.from(
        ErrorInfo.encode({ reason: "INVALID_SLUG", domain: "stepgres", metadata: { slug: "x y" } }).finish(),
      ),
    },
    {
      typeUrl: "type.googleapis.com/google.rpc.BadRequest",
      value: Buffer.from(
        BadRequest.encode({
          fieldViolations: [{ field: "slug", description: "slug: no", reason: "INVALID_SLUG" }],
        }).finish(),
      ),
    },
  ];
  const metadata = new Metadata();
  metadata.set("grpc-status-details-bin", Buffer.from(Status.encode({ code: 3, message: "no", details }).finish()));
  const getFlow: Answer<unknown, unknown> = (_, done) =>
    done({ code: status.INVALID_ARGUMENT, details: "slug: no", metadata });
  await serve({ getFlow }, async (client) => {
    await assert.rejects(client.getFlow("x y"), (error) => {
      assert.ok(error instanceof InvalidArgument);
      const { code, reason, field, metadata: values, message, name } = error;
      assert.deepEqual(
        { code, reason, field, values, message, name },
        {
          code: "INVALID_ARGUMENT",
          reason: "INVALID_SLUG",
          field: "slug",
          values: { slug: "x y" },
          message: "slug: no",
          name: "InvalidArgument",
        },
      );
      return true;
    });
  });
});

void test("where nobody answers the error says so in plain words", async () => {
  using client = new Client({ target: "127.0.0.1:9", timeoutS: 1 });
  await assert.rejects(client.getFlow("any"), (error) => {
    assert.ok(error instanceof Unavailable);
    assert.equal(error.cause, "connection refused");
    assert.match(error.message, /127\.0\.0\.1:9/);
    return true;
  });
});

void test("calls are repeated where that is safe, and carry the token", async () => {
  let calls = 0;
  const tokens = new Set<string>();
  const flaky: Answer<unknown, unknown> = ({ metadata }, done) => {
    tokens.add(String(metadata.get("authorization")[0]));
    calls += 1;
    const code = [status.UNAVAILABLE, status.DEADLINE_EXCEEDED, status.NOT_FOUND][calls - 1]!;
    done({ code, details: "not now" });
  };
  await serve({ getRun: flaky, startRun: flaky }, async (client) => {
    await assert.rejects(client.getRun("r"), NotFound);
    assert.equal(calls, 3);
    calls = 0;
    await assert.rejects(client.startRun("f"), Unavailable);
    assert.equal(calls, 1);
    await assert.rejects(client.startRun("f", {}, { idempotencyKey: "k" }), NotFound);
    assert.equal(calls, 3);
  });
  assert.deepEqual([...tokens], ["Bearer secret"]);
});

void test("a watch goes on after a break with its cursor, merges changes, and ends with the end", async () => {
  const cursors: string[] = [];
  const watchRun = (call: { request: WatchRunRequest; write(frame: WatchRunResponse): void; end(): void }): void => {
    cursors.push(call.request.cursor);
    if (cursors.length === 1) {
      call.write({ frame: { $case: "snapshot", value: run({ steps: [step("a", 1), step("b", 1)] }) }, cursor: "1" });
      call.write({
        frame: {
          $case: "change",
          value: { status: RunStatus.STARTED, revision: 2, steps: [step("b", 2, StepStatus.COMPLETED)] },
        },
        cursor: "2",
      });
      call.end();
    } else {
      const output = Buffer.from('{"b":9007199254740993}');
      call.write({
        frame: { $case: "end", value: run({ status: RunStatus.COMPLETED, output, revision: 3 }) },
        cursor: "3",
      });
      call.end();
    }
  };
  await serve({ watchRun: watchRun as never }, async (client) => {
    const seen = [];
    for await (const { status: at, steps, cursor } of client.watch("r")) {
      seen.push([at, ...steps.map((each) => [each.step, each.status]), cursor]);
    }
    assert.deepEqual(seen, [
      [RunStatus.STARTED, ["a", StepStatus.STARTED], ["b", StepStatus.STARTED], "1"],
      [RunStatus.STARTED, ["a", StepStatus.STARTED], ["b", StepStatus.COMPLETED], "2"],
      [RunStatus.COMPLETED, "3"],
    ]);
    assert.deepEqual(cursors, ["", "2"]);
    cursors.length = 1;
    assert.deepEqual(await client.run("r").result(), { b: 9007199254740993n });
  });
});

void test("result throws what became of the run, or that it goes on", async () => {
  const ends: Run[] = [
    run({ status: RunStatus.FAILED, error: { step: "s", taskIndex: 0, code: "NO", message: "why", attempt: 3 } }),
    run({
      status: RunStatus.CANCELLED,
      error: { step: "", taskIndex: 0, code: "", message: "changed my mind", attempt: 0 },
    }),
  ];
  const watchRun = (call: { write(frame: WatchRunResponse): void; end(): void }): void => {
    const end = ends.shift();
    call.write(
      end
        ? { frame: { $case: "end", value: end }, cursor: "1" }
        : { frame: { $case: "snapshot", value: run() }, cursor: "1" },
    );
    if (end) call.end();
  };
  await serve({ watchRun: watchRun as never }, async (client) => {
    await assert.rejects(client.run("r").result(), (error) => {
      assert.ok(error instanceof RunFailed);
      assert.deepEqual([error.runId, error.step, error.code, error.reason], ["r", "s", "NO", "why"]);
      return true;
    });
    await assert.rejects(
      client.run("r").result(),
      (error) => error instanceof RunCancelled && error.reason === "changed my mind",
    );
    await assert.rejects(client.run("r").result({ timeoutS: 0.1 }), WaitTimeout);
  });
});

void test("a call that is aborted throws the reason of its signal, before it is sent or while it waits", async () => {
  const waiting = new AbortController();
  const listRuns = ({ request }: { request: ListRunsRequest }): void => {
    assert.deepEqual([request.flow, request.status, request.pageSize], ["f", RunStatus.FAILED, 7]);
    waiting.abort(new RangeError("no longer")); // and no answer ever comes
  };
  await serve({ listRuns: listRuns as never }, async (client) => {
    const options = { flow: "f", status: RunStatus.FAILED, pageSize: 7 };
    await assert.rejects(client.listRuns({ ...options, signal: waiting.signal }), RangeError);
    await assert.rejects(client.getRun("r", { signal: AbortSignal.abort(new RangeError("at once")) }), RangeError);
    await assert.rejects(client.run("r").result({ signal: waiting.signal }), RangeError);
  });
});

void test("startRuns sends up to 1,000 at a time and tells of each", async () => {
  const sizes: number[] = [];
  const startRuns: Answer<{ requests: StartRunRequest[] }, unknown> = ({ request }, done) => {
    sizes.push(request.requests.length);
    const results = request.requests.map((_, index) =>
      index
        ? { runId: `r${index}`, created: true, error: undefined }
        : {
            runId: "",
            created: false,
            error: { code: 5, reason: ErrorReason.FLOW_NOT_FOUND, message: "no", field: "flow" },
          },
    );
    done(null, { results });
  };
  await serve({ startRuns }, async (client) => {
    const results = await client.startRuns(Array.from({ length: 2500 }, () => ({ flow: "f" })));
    assert.deepEqual(sizes, [1000, 1000, 500]);
    assert.equal(results[0]?.error?.reason, ErrorReason.FLOW_NOT_FOUND);
    assert.equal(results[1]?.runId, "r1");
  });
});

void test("flows in code and plans in either spelling are the same on the wire", async () => {
  const requests: CreateFlowRequest[] = [];
  const createFlow: Answer<CreateFlowRequest, unknown> = ({ request }, done) => {
    requests.push(request);
    done({ code: status.ALREADY_EXISTS, details: "flow: it exists" });
  };
  await serve({ createFlow }, async (client) => {
    const flow = new Flow<{ numbers: number[] }>("sums", { maxAttempts: 5 });
    const numbers = flow.step("numbers", ({ run: { numbers: found } }) => found);
    const double = flow.map("double", ({ item }) => item * 2, { over: numbers, timeoutS: 7 });
    flow.step("total", ({ double: all }) => all.reduce((a, b) => a + b, 0), {
      dependsOn: [double],
      params: { x: [1, null] },
    });
    const steps = [
      { slug: "numbers" },
      { slug: "double", depends_on: ["numbers"], step_type: "map", timeout_s: 7 },
      { slug: "total", depends_on: ["double"], params: { x: [1, null] } },
    ];
    await assert.rejects(client.register(flow));
    await assert.rejects(client.applyFlow({ slug: "sums", max_attempts: 5, steps }, { newVersion: false }));
    assert.equal(requests.length, 2);
    assert.deepEqual(requests[0], requests[1]);
    assert.deepEqual(requests[0]?.steps[2]?.params, { x: [1, null] });
  });
});

void test("a plan with a field that is unknown or of another kind is refused before it is sent", async () => {
  using client = new Client({ target: "127.0.0.1:9" });
  const cases: readonly (readonly [object, RegExp])[] = [
    [{ steps: [{ slug: "a", depnds_on: [] }] }, /steps\[0\]\.depnds_on: is unknown/],
    [{ steps: [{ slug: 7 }] }, /steps\[0\]\.slug: is 7; a string is needed/],
    [{ steps: [{ slug: "a", step_type: "mapp" }] }, /stepType: is 'mapp'/],
    [{ steps: [{ slug: "a", params: { big: 2n ** 60n + 1n } }] }, /steps\[0\]\.params: a number is beyond 2\^53/],
    [{ step: [] }, /^TypeError: step: is unknown/],
  ];
  for (const [plan, message] of cases) await assert.rejects(client.validateFlow(plan as never), message);
});

void test("addresses are told from what is none", () => {
  for (const target of [
    "127.0.0.1:1",
    "[::1]:50051",
    "dns:///name:50051",
    "ipv4:10.0.0.1:1,10.0.0.2:2",
    "unix:/run/x.sock",
    "my-host:50051",
  ]) {
    assert.equal(resolveTarget(target), target);
  }
  for (const target of ["nonsense", "http://x:1", "host:0", "host:70000", "dns:///name", "unix:"]) {
    assert.throws(() => resolveTarget(target), /target: .* is no address; write host:port/, target);
  }
});

void test("mistakes in code are told where they are made", () => {
  assert.throws(() => new Worker({ concurrency: 0 }), /concurrency: 0 is not between/);
  const worker = new Worker().step("a", () => 1);
  assert.throws(() => worker.step("a", () => 2), /handler a is bound to another function already/);
  const flow = new Flow("f");
  flow.step("s", () => 1);
  assert.throws(() => flow.step("s", () => 2), /step s or handler f\.s is there already/);
  return assert.rejects(new Worker().serve(), /has no handlers/);
});

void test("the version is that of the package", () => {
  const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
  assert.equal(VERSION, version);
});
