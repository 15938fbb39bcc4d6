import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";

import { TaskError, type TaskContext } from "../src/index.js";
import { AckVerdict, type Result } from "../src/gen/stepgres/v1/worker.js";
import { StepType } from "../src/gen/stepgres/v1/common.js";
import { task } from "./coordinator.js";
import { gate, serving } from "./serving.js";

function output({ outcome }: Result): string {
  assert.equal(outcome?.$case, "completed");
  return outcome?.$case === "completed" ? outcome.value.output.toString() : "";
}

function failure({ outcome }: Result): {
  code: string;
  message: string;
  details: string;
  nonRetryable: boolean;
  retryAfterMs?: number | undefined;
} {
  assert.equal(outcome?.$case, "failed");
  return outcome?.$case === "failed" ? outcome.value : { code: "", message: "", details: "", nonRetryable: false };
}

serving(
  "an input comes back as it was, integers exact",
  (worker) => worker.step("echo", (input) => input),
  async ({ stream }) => {
    const text = '{"run":9007199254740993,"a":[1.5,"é",null],"__proto__":1}';
    stream.hand(task("one", { input: Buffer.from(text) }));
    assert.deepEqual((await stream.results(1)).map(output), [text]);
  },
);

const doors = new Map<string, ReturnType<typeof gate<string>>>();
function wait(_: unknown, ctx: TaskContext): Promise<string> {
  const door = gate<string>();
  doors.set(ctx.step, door);
  return door.opened;
}

serving(
  "never more is granted than is free, and each freed slot is granted alone",
  (worker) => worker.step("echo", wait),
  async ({ stream }) => {
    await stream.granted(3);
    assert.equal(stream.credits, 3);
    stream.hand(task("a"), task("b"), task("c"));
    // A ping is answered after all that was due before: no credits came along.
    stream.send({ $case: "ping", value: {} });
    await stream.next("heartbeat");
    assert.equal(stream.credits, 0);
    doors.get("b")?.open("done");
    const { results, credits } = await stream.next("resultBatch");
    const [result] = results;
    assert.equal(result && output(result), '"done"');
    assert.equal(credits, 1);
    stream.hand(task("d"));
    doors.get("a")?.open("");
    doors.get("c")?.open("");
    await stream.granted(2);
    assert.equal(stream.credits, 2);
  },
  { concurrency: 3 },
);

/** A handler that returns when so many of its calls have begun. */
function together(count: number): () => Promise<null> {
  const { opened, open } = gate<null>();
  let begun = 0;
  return () => {
    if (++begun === count) open(null);
    return opened;
  };
}

serving(
  "results that are due together travel together, and so do their credits",
  (worker) => worker.step("echo", together(100)),
  async ({ stream }) => {
    await stream.granted(100);
    stream.hand(...Array.from({ length: 100 }, (_, index) => task(`t${index}`)));
    const { results, credits } = await stream.next("resultBatch");
    assert.equal(results.length, 100);
    assert.equal(credits, 100);
  },
);

serving(
  "frames are cut at 500 results",
  (worker) => worker.step("echo", together(600)),
  async ({ stream }) => {
    await stream.granted(600);
    stream.hand(...Array.from({ length: 600 }, (_, index) => task(`t${index}`)));
    for (const count of [500, 100]) {
      const { results, credits } = await stream.next("resultBatch");
      assert.deepEqual([results.length, credits], [count, count]);
    }
  },
  { concurrency: 600 },
);

serving(
  "a handler knows its task",
  (worker) =>
    worker.step("echo", async (_, ctx) => {
      assert.ok(ctx.remainingS > 29 && ctx.remainingS <= 30 && ctx.deadline.getTime() > Date.now());
      const {
        runId,
        flow,
        version,
        step,
        index,
        attempt,
        handler,
        scope,
        params,
        idempotencyKey,
        traceparent,
        cancelled,
      } = ctx;
      return {
        runId,
        flow,
        version,
        step,
        index,
        attempt,
        handler,
        scope,
        params,
        idempotencyKey,
        traceparent,
        cancelled,
      };
    }),
  async ({ stream }) => {
    stream.hand(
      task("s", {
        runId: "r",
        version: 2,
        taskIndex: 7,
        attempt: 3,
        scope: "blue",
        params: Buffer.from('{"x":1}'),
        traceparent: "00-1",
      }),
    );
    const [result] = await stream.results(1);
    assert.deepEqual(result && JSON.parse(output(result)), {
      runId: "r",
      flow: "flow",
      version: 2,
      step: "s",
      index: 7,
      attempt: 3,
      handler: "echo",
      scope: "blue",
      params: { x: 1 },
      idempotencyKey: "r:s:7",
      traceparent: "00-1",
      cancelled: false,
    });
  },
);

class CardError extends Error {}
const thrown: Record<string, unknown> = {
  plain: new Error("boom"),
  own: new CardError("no card"),
  range: new RangeError("too far"),
  text: "just text",
  told: new TaskError("bank is busy", { code: "BANK_BUSY", retryAfterS: 1.5 }),
  final: new TaskError("no", { retryable: false }),
  nothing: undefined,
};

serving(
  "what a handler throws says how its task failed",
  (worker) =>
    worker.step(
      "echo",
      (_, ctx) => {
        throw thrown[ctx.step];
      },
      { nonRetryable: [CardError] },
    ),
  async ({ stream, log }) => {
    stream.hand(...Object.keys(thrown).map((name) => task(name)));
    const found = (await stream.results(7)).map(failure);
    assert.deepEqual(
      found.map(({ code, message, nonRetryable, retryAfterMs }) => [code, message, nonRetryable, retryAfterMs]),
      [
        ["HANDLER_ERROR", "Error: boom", false, undefined],
        ["HANDLER_ERROR", "CardError: no card", true, undefined],
        ["HANDLER_ERROR", "RangeError: too far", false, undefined],
        ["HANDLER_ERROR", "string: just text", false, undefined],
        ["BANK_BUSY", "bank is busy", false, 1500],
        ["HANDLER_ERROR", "no", true, undefined],
        ["HANDLER_ERROR", "undefined: undefined", false, undefined],
      ],
    );
    assert.match(found[0]?.details ?? "", /^Error: boom\n.*worker\.test/s);
    assert.equal(found[4]?.details, "");
    assert.ok(
      log.lines.some((line) =>
        /^warn flow\.plain\[0\] \(handler echo\) of run .*: attempt 1 failed, retryable: HANDLER_ERROR: Error: boom\n/.test(
          line,
        ),
      ),
    );
  },
);

serving(
  "rejected promises fail like thrown errors, and U+0000 goes no further",
  (worker) => worker.step("echo", async () => Promise.reject(new Error("a\0b"))),
  async ({ stream }) => {
    stream.hand(task("one"));
    assert.equal((await stream.results(1)).map(failure)[0]?.message, "Error: a\u{FFFD}b");
  },
);

serving(
  "outputs that are not JSON, or too large, fail for good; nothing is null",
  (worker) =>
    worker
      .step("nan", () => ({ a: NaN }))
      .step("large", () => "x".repeat(2 << 20))
      .step("function", () => () => 1)
      .step("nothing", () => undefined),
  async ({ stream }) => {
    stream.hand(...["nan", "large", "function"].map((handler) => task(handler, { handler })));
    const found = (await stream.results(3)).map(failure);
    assert.deepEqual(
      found.map(({ code, nonRetryable }) => [code, nonRetryable]),
      [
        ["INVALID_OUTPUT", true],
        ["OUTPUT_TOO_LARGE", true],
        ["INVALID_OUTPUT", true],
      ],
    );
    assert.match(found[0]?.message ?? "", /value\.a is NaN/);
    stream.hand(task("n", { handler: "nothing" }));
    assert.deepEqual((await stream.results(1)).map(output), ["null"]);
  },
);

serving(
  "a task that is delivered twice is executed once",
  (worker) => {
    let executed = 0;
    worker.step("echo", () => ++executed);
  },
  async ({ stream }) => {
    stream.hand(task("one"), task("one"));
    await stream.results(1);
    stream.hand(task("one"), task("two"));
    assert.deepEqual((await stream.results(1)).map(output), ["2"]);
    assert.deepEqual(stream.sent, ["token-one", "token-two"]);
  },
);

serving(
  "a handler that nobody serves is handed back",
  (worker) => worker.step("echo", (input) => input),
  async ({ stream }) => {
    stream.hand(task("one", { handler: "other" }));
    assert.equal((await stream.results(1))[0]?.outcome?.$case, "released");
  },
);

serving(
  "at its deadline a handler hears its signal, the failure goes out, and the slot is free when it returns",
  (worker) =>
    worker.step(
      "echo",
      (_, ctx) =>
        new Promise((resolve) =>
          ctx.signal.addEventListener("abort", () => doors.set("late", gate()) && resolve(doors.get("late")?.opened)),
        ),
    ),
  async ({ stream, log }) => {
    await stream.granted(1);
    stream.hand(task("slow", { timeoutS: 1 }));
    assert.deepEqual(
      (await stream.results(1)).map(failure).map(({ code, message }) => [code, message]),
      [["TIMEOUT", "the handler took longer than 1 s"]],
    );
    stream.send({ $case: "ping", value: {} });
    await stream.next("heartbeat");
    assert.equal(stream.credits, 0, "it still runs");
    doors.get("late")?.open("ignored");
    await stream.granted(1);
    assert.ok(log.lines.some((line) => line.includes("TIMEOUT")));
  },
  { concurrency: 1 },
);

for (const kind of ["cancelTasks", "leaseLost"] as const) {
  serving(
    `${kind}: the signal is aborted and no result is sent`,
    (worker) =>
      worker
        .step("echo", (input) => input)
        .step("until", async (_, ctx) => {
          await delay(60_000, undefined, { signal: ctx.signal }).catch(() => undefined);
          doors.get("seen")?.open(String(ctx.cancelled));
          return "late";
        }),
    async ({ stream }) => {
      const seen = gate<string>();
      doors.set("seen", seen);
      await stream.granted(1);
      const stopped = task("stopped", { handler: "until" });
      stream.hand(stopped);
      stream.send({ $case: kind, value: { tokens: [stopped.token], reason: "" } });
      assert.equal(await seen.opened, "true");
      await stream.granted(1);
      stream.hand(task("other"));
      await stream.results(1);
      assert.deepEqual(stream.sent, ["token-other"]);
    },
    { concurrency: 1 },
  );
}

serving(
  "the input of a run is asked for once, and not at all for a single step",
  (worker) => worker.step("echo", async (_, ctx) => (await ctx.runInput<number[]>()).length),
  async ({ stream, coordinator }) => {
    stream.hand(...Array.from({ length: 50 }, (_, index) => task(`t${index}`, { stepType: StepType.MAP })));
    assert.deepEqual(new Set((await stream.results(50)).map(output)), new Set(["3"]));
    assert.equal(coordinator.asked.length, 1);
    stream.hand(task("single", { json: { run: [1, 2] } }));
    assert.deepEqual((await stream.results(1)).map(output), ["2"]);
    assert.equal(coordinator.asked.length, 1);
  },
);

serving(
  "progress travels with a heartbeat, clamped and cut",
  (worker) =>
    worker.step(
      "echo",
      (_, ctx) => (ctx.progress(7, "x".repeat(300)), doors.set("p", gate()) && doors.get("p")?.opened),
    ),
  async ({ stream }) => {
    stream.hand(task("one"));
    const { progress } = await stream.next("heartbeat");
    assert.deepEqual(
      progress.map(({ token, fraction, message }) => [token.toString(), fraction, message.length]),
      [["token-one", 1, 200]],
    );
    doors.get("p")?.open("");
  },
);

serving(
  "results wait for their acks: stale, duplicate and rejected ones end them, busy ones come again",
  (worker) => worker.step("echo", (input) => input),
  async ({ stream, worker, served, log }) => {
    const verdicts = [AckVerdict.STALE, AckVerdict.DUPLICATE, AckVerdict.REJECTED];
    stream.hand(...verdicts.map((verdict) => task(`v${verdict}`)), task("busy"));
    const results = await stream.results(4);
    verdicts.forEach((verdict, index) => stream.ack(results.slice(index, index + 1), verdict));
    stream.ack(results.slice(3), AckVerdict.BUSY, 10);
    const again = await stream.results(1);
    assert.deepEqual(
      again.map(({ token }) => token.toString()),
      ["token-busy"],
    );
    worker.stop();
    stream.ack(again);
    await stream.next("goodbye");
    stream.end();
    await served;
    assert.ok(log.lines.some((line) => line.startsWith("warn a result was refused")));
  },
);

serving(
  "frames that nobody knows yet are ignored, and a ping is answered",
  (worker) => worker.step("echo", (input) => input),
  async ({ stream }) => {
    stream.sendRaw(Buffer.from([0xfa, 0x3e, 0x02, 0x08, 0x01])); // field 1007, a message
    stream.sendRaw(Buffer.alloc(0));
    stream.send({ $case: "ping", value: {} });
    await stream.next("heartbeat");
    stream.hand(task("one"));
    await stream.results(1);
  },
);

serving(
  "a handler that computes for long does not keep its neighbours' results back",
  (worker) =>
    worker.step("echo", () => {
      const end = performance.now() + 15;
      while (performance.now() < end);
      return null;
    }),
  async ({ stream }) => {
    await stream.granted(5);
    stream.hand(...["a", "b", "c", "d", "e"].map((name) => task(name)));
    assert.equal((await stream.next("resultBatch")).results.length, 1);
    await stream.results(4);
  },
);

serving(
  "a handler that holds the event loop is told of in the log",
  (worker) =>
    worker.step("echo", () => {
      const end = performance.now() + 150;
      while (performance.now() < end);
      return null;
    }),
  async ({ stream, coordinator, log }) => {
    stream.fail();
    const next = await coordinator.next();
    await next.welcome({ leaseMs: 300, heartbeatMs: 60 });
    next.hand(task("long"));
    await log.until(/^warn the event loop was held for \d+ ms/);
  },
);
