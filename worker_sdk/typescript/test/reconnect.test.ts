import assert from "node:assert/strict";
import { test } from "node:test";
import { status } from "@grpc/grpc-js";

import { Worker } from "../src/index.js";
import { Coordinator, Lines, task, type Stream } from "./coordinator.js";
import { gate, serving } from "./serving.js";

const tokens = (list: readonly Buffer[]): string[] => list.map(String).sort();

/** A handler that waits for a door with the name of its step, and doors for it. */
function waiter(): { doors: Map<string, ReturnType<typeof gate<string>>>; prepare: (worker: Worker) => void } {
  const doors = new Map<string, ReturnType<typeof gate<string>>>();
  const prepare = (worker: Worker): void =>
    void worker
      .step("echo", (input) => input)
      .step("wait", (_, ctx) => {
        const door = gate<string>();
        doors.set(ctx.step, door);
        ctx.signal.addEventListener("abort", () => doors.get(`${ctx.step} stopped`)?.open(""));
        return door.opened;
      });
  return { doors, prepare };
}

/** Waits until the worker has read all that came over a stream: it stops a task that is cancelled last. */
async function drained(stream: Stream, doors: Map<string, ReturnType<typeof gate<string>>>): Promise<void> {
  const stopped = gate<string>();
  doors.set("last stopped", stopped);
  stream.send({ $case: "cancelTasks", value: { tokens: [Buffer.from("token-last")], reason: "" } });
  await stopped.opened;
}

async function ping(stream: Stream): Promise<void> {
  stream.send({ $case: "ping", value: {} });
  await stream.next("heartbeat");
}

{
  const { doors, prepare } = waiter();
  serving(
    "a broken stream is resumed with what is held, and unacknowledged results are sent again",
    prepare,
    async ({ stream, coordinator, log }) => {
      stream.hand(task("running", { handler: "wait" }), task("kept"));
      assert.deepEqual(
        (await stream.results(1)).map(({ token }) => String(token)),
        ["token-kept"],
      );
      stream.fail();
      const next = await coordinator.next();
      const hello = await next.welcome();
      assert.equal(String(hello.sessionId), "0123456789abcdef");
      assert.equal(hello.instanceId.length, 16);
      assert.deepEqual(tokens(hello.heldTokens), ["token-kept", "token-running"]);
      const again = await next.results(1);
      assert.deepEqual(
        again.map(({ token }) => String(token)),
        ["token-kept"],
      );
      next.ack(again);
      await next.granted(99); // 100 slots, one in use
      await ping(next);
      assert.equal(next.credits, 99);
      doors.get("running")?.open("done");
      assert.deepEqual(
        (await next.results(1)).map(({ token }) => String(token)),
        ["token-running"],
      );
      assert.ok(
        log.lines.some((line) =>
          /connection to .* is lost \(.*\); connecting again\. 1 running tasks go on/.test(line),
        ),
      );
      assert.ok(log.lines.some((line) => /is connected to .* its tasks go on/.test(line)));
    },
  );
}

{
  const { doors, prepare } = waiter();
  serving("a session that has ended takes its tasks and results along", prepare, async ({ stream, coordinator }) => {
    stream.hand(task("running", { handler: "wait" }), task("kept"));
    await stream.results(1);
    stream.end(); // also a clean end is no Goodbye of ours
    const next = await coordinator.next();
    await next.welcome({ resumed: false, sessionId: Buffer.from("another session.") });
    doors.get("running")?.open("nobody wants it");
    await next.granted(100);
    next.hand(task("new"));
    await next.results(1);
    assert.deepEqual(next.sent, ["token-new"]);
  });
}

{
  const { doors, prepare } = waiter();
  serving(
    "Drain: the next stream is open before the old one goes, and no task is lost in between",
    prepare,
    async ({ stream, coordinator }) => {
      await stream.granted(100);
      stream.hand(task("running", { handler: "wait" }), task("last", { handler: "wait" }));
      stream.send({ $case: "drain", value: { deadlineMs: 10_000, reason: "update" } });
      const next = await coordinator.next();
      stream.hand(task("too late")); // handed out after Hello listed what is held: the coordinator takes it back
      await drained(stream, doors);
      const hello = await next.welcome();
      assert.deepEqual(tokens(hello.heldTokens), ["token-last", "token-running"]);
      await stream.closed;
      await next.granted(98); // both handlers still run
      doors.get("running")?.open("done");
      await next.results(1);
      assert.deepEqual([...stream.sent, ...next.sent], ["token-running"]);
    },
  );
}

{
  const { doors, prepare } = waiter();
  serving(
    "Drain: when the next stream comes to nothing, the tasks that came meanwhile are executed",
    prepare,
    async ({ stream, coordinator }) => {
      stream.hand(task("last", { handler: "wait" }));
      stream.send({ $case: "drain", value: { deadlineMs: 10_000, reason: "update" } });
      const next = await coordinator.next();
      await next.next("hello");
      stream.hand(task("meanwhile"));
      await drained(stream, doors);
      assert.deepEqual(stream.sent, [], "it waits for the answer to Hello");
      next.fail();
      assert.deepEqual(
        (await stream.results(1)).map(({ token }) => String(token)),
        ["token-meanwhile"],
      );
      await (await coordinator.next()).welcome();
    },
  );
}

{
  const { doors, prepare } = waiter();
  serving(
    "stop: nothing more is asked for, what runs is finished, acks are awaited, then Goodbye",
    prepare,
    async ({ stream, worker, served }) => {
      await stream.granted(100);
      stream.hand(task("running", { handler: "wait" }));
      await ping(stream);
      worker.stop();
      stream.hand(task("crossed")); // was under way
      assert.deepEqual(
        (await stream.results(1)).map(({ token, outcome }) => [String(token), outcome?.$case]),
        [["token-crossed", "released"]],
      );
      doors.get("running")?.open("done");
      const results = await stream.results(1);
      await ping(stream);
      stream.ack([...results, { token: Buffer.from("token-crossed"), outcome: undefined }]);
      await stream.next("goodbye");
      await stream.closed;
      stream.end();
      await served;
    },
  );
}

{
  const { prepare } = waiter();
  serving("stop now: what runs is handed back and hears its signal", prepare, async ({ stream, worker, served }) => {
    stream.hand(task("running", { handler: "wait" }));
    await ping(stream);
    worker.stop({ now: true });
    assert.deepEqual(
      (await stream.results(1)).map(({ outcome }) => outcome?.$case),
      ["released"],
    );
    await stream.next("goodbye");
    stream.end();
    await served;
  });
}

{
  const { prepare } = waiter();
  serving(
    "a drain that takes too long hands back what still runs",
    prepare,
    async ({ stream, worker, served }) => {
      stream.hand(task("running", { handler: "wait" }));
      await ping(stream);
      worker.stop();
      assert.deepEqual(
        (await stream.results(1)).map(({ outcome }) => outcome?.$case),
        ["released"],
      );
      await stream.next("goodbye");
      stream.end();
      await served;
    },
    { drainTimeoutS: 0.2 },
  );
}

serving(
  "frames are cut where the coordinator says",
  (worker) => worker.step("echo", () => "x".repeat(40_000)),
  async ({ stream, coordinator }) => {
    stream.fail();
    const next = await coordinator.next();
    await next.welcome({ maxFrameBytes: 65_536 });
    next.hand(task("a"), task("b"), task("c"));
    for (let frame = 0; frame < 3; frame++) assert.equal((await next.next("resultBatch")).results.length, 1);
  },
);

serving(
  "a heartbeat goes out when nothing else does",
  (worker) => worker.step("echo", (input) => input),
  async ({ stream, coordinator }) => {
    stream.fail();
    const next = await coordinator.next();
    await next.welcome({ heartbeatMs: 30 });
    await next.next("heartbeat");
    await next.next("heartbeat");
  },
);

void test("a refusal that no second try will change ends the worker", { timeout: 20_000 }, async () => {
  using coordinator = await new Coordinator().start();
  const worker = new Worker({ target: coordinator.target, logger: new Lines() }).step("echo", (input) => input);
  const served = worker.serve();
  const ready = worker.ready();
  const stream = await coordinator.next();
  await stream.next("hello");
  stream.fail(status.INVALID_ARGUMENT, "subscriptions[0].handlers[0]: no");
  await assert.rejects(served, { name: "InvalidArgument", code: "INVALID_ARGUMENT" });
  await assert.rejects(ready, /ended before a coordinator welcomed it/);
});

void test(
  "a worker waits for its coordinator, says so once, and can be stopped meanwhile",
  { timeout: 20_000 },
  async () => {
    using coordinator = await new Coordinator().start();
    coordinator.stop();
    const log = new Lines();
    const worker = new Worker({ target: coordinator.target, logger: log }).step("echo", (input) => input);
    const served = worker.serve();
    await log.until(/no coordinator answers at 127\.0\.0\.1:\d+ \(connection refused\).*Trying again/);
    worker.stop();
    await served;
    assert.equal(log.lines.filter((line) => line.startsWith("warn")).length, 1);
  },
);
