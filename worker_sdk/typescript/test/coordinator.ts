/** A coordinator in memory that does what a test tells it: a real gRPC server that speaks the worker protocol. */
import {
  Server,
  ServerCredentials,
  status,
  type ServerDuplexStream,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";

import {
  AckVerdict,
  WorkerServiceService,
  WorkResponse,
  type Hello,
  type LeasedTask,
  type Result,
  type Welcome,
  type WorkRequest,
} from "../src/gen/stepgres/v1/worker.js";
import { StepType, ErrorReason } from "../src/gen/stepgres/v1/common.js";
import type { Logger } from "../src/log.js";

type Frame = NonNullable<WorkRequest["frame"]>;
type Case = Frame["$case"];
type ValueOf<C extends Case> = Extract<Frame, { $case: C }>["value"];

/** Values that come one after the other, and those who wait for them. */
class Queue<T> {
  readonly #items: T[] = [];
  readonly #waiting: ((item: T) => void)[] = [];

  push(item: T): void {
    const waiting = this.#waiting.shift();
    if (waiting) waiting(item);
    else this.#items.push(item);
  }

  next(): Promise<T> {
    const item = this.#items.shift();
    return item === undefined ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve(item);
  }
}

/** A task as a coordinator hands it out. */
export function task(name: string, changes: Partial<LeasedTask> & { json?: unknown } = {}): LeasedTask {
  const { json = {}, ...rest } = changes;
  return {
    token: Buffer.from(`token-${name}`),
    runId: "01a21c8d-ca03-7063-be4a-6339afa6727b",
    flow: "flow",
    version: 1,
    step: name,
    taskIndex: 0,
    attempt: 1,
    handler: "echo",
    params: Buffer.alloc(0),
    timeoutS: 30,
    input: Buffer.from(JSON.stringify(json)),
    stepType: StepType.SINGLE,
    scope: "",
    traceparent: "",
    ...rest,
  };
}

/** One Work stream as the coordinator sees it. */
export class Stream {
  /** Credits granted and not used yet. */
  credits = 0;
  /** Tokens of all results that ever came, awaited or not. */
  readonly sent: string[] = [];
  /** Its `authorization`. */
  readonly token: string;
  /** Resolves when the worker has half-closed or cancelled. */
  readonly closed: Promise<void>;
  readonly #call: ServerDuplexStream<WorkRequest, Buffer>;
  readonly #frames = new Queue<Frame | undefined>();

  constructor(call: ServerDuplexStream<WorkRequest, Buffer>) {
    this.#call = call;
    this.token = String(call.metadata.get("authorization")[0]);
    call.on("data", ({ frame }: WorkRequest) => {
      if (frame?.$case === "creditGrant" || frame?.$case === "resultBatch") this.credits += frame.value.credits;
      if (frame?.$case === "resultBatch") this.sent.push(...frame.value.results.map(({ token }) => String(token)));
      this.#frames.push(frame);
    });
    this.closed = new Promise((resolve) => {
      call
        .on("end", resolve)
        .on("cancelled", resolve)
        .on("error", () => resolve());
      call.on("end", () => call.end()); // as a coordinator answers Goodbye
    });
    void this.closed.then(() => this.#frames.push(undefined));
  }

  /** The next frame of a kind; others that come before are passed over. */
  async next<C extends Case>(kind: C): Promise<ValueOf<C>> {
    for (;;) {
      const frame = await this.#frames.next();
      if (!frame) throw new Error(`the stream ended while a ${kind} was awaited`);
      if (frame.$case === kind) return frame.value as ValueOf<C>;
    }
  }

  /** Waits until the worker has granted so many credits. */
  async granted(credits: number): Promise<void> {
    while (this.credits < credits) await this.#frames.next();
  }

  /** Results until so many have come. */
  async results(count: number): Promise<Result[]> {
    const results: Result[] = [];
    while (results.length < count) results.push(...(await this.next("resultBatch")).results);
    return results;
  }

  send(frame: NonNullable<WorkResponse["frame"]>): void {
    this.#call.write(Buffer.from(WorkResponse.encode({ frame }).finish()));
  }

  /** Any bytes, such as a frame that nobody knows yet. */
  sendRaw(bytes: Buffer): void {
    this.#call.write(bytes);
  }

  hand(...tasks: LeasedTask[]): void {
    this.credits -= tasks.length;
    this.send({ $case: "taskBatch", value: { tasks } });
  }

  ack(results: readonly Result[], verdict: AckVerdict = AckVerdict.RECORDED, retryAfterMs = 0): void {
    const acks = results.map(({ token }) => ({
      token,
      verdict,
      reason: ErrorReason.UNSPECIFIED,
      message: "",
      retryAfterMs,
    }));
    this.send({ $case: "ackBatch", value: { acks } });
  }

  /** Answers Hello. */
  async welcome(changes: Partial<Welcome> = {}): Promise<Hello> {
    const hello = await this.next("hello");
    const sessionId = hello.sessionId.length ? hello.sessionId : Buffer.from("0123456789abcdef");
    const welcome: Welcome = {
      sessionId,
      resumed: hello.sessionId.length > 0,
      protocolVersion: 1,
      leaseMs: 15_000,
      heartbeatMs: 5_000,
      maxCredits: 10_000,
      maxOutputBytes: 1 << 20,
      maxFrameBytes: 1 << 20,
      coordinator: "fake",
      ...changes,
    };
    this.send({ $case: "welcome", value: welcome });
    return hello;
  }

  /** Closes the stream with OK. */
  end(): void {
    this.#call.end();
  }

  /** Breaks the stream. */
  fail(code = status.UNAVAILABLE, details = "broken by the test"): void {
    this.#call.emit("error", { code, details });
  }
}

/** The server. */
export class Coordinator {
  /** Answers of GetRunInput; by default an array. */
  runInput = Buffer.from("[1,2,3]");
  /** Tokens that asked for it. */
  readonly asked: string[] = [];
  target = "";
  readonly #server = new Server();
  readonly #streams = new Queue<Stream>();

  /** @param services more of them, each with what answers its calls. */
  async start(
    credentials = ServerCredentials.createInsecure(),
    services: readonly (readonly [ServiceDefinition, UntypedServiceImplementation])[] = [],
  ): Promise<this> {
    for (const [definition, methods] of services) {
      const served = Object.entries(definition).filter(([name]) => name in methods);
      this.#server.addService(Object.fromEntries(served), methods);
    }
    const work = {
      ...WorkerServiceService.work,
      responseSerialize: (bytes: Buffer) => bytes,
      responseDeserialize: (bytes: Buffer) => bytes,
    };
    this.#server.addService({ ...WorkerServiceService, work } as never, {
      work: ((call: ServerDuplexStream<WorkRequest, Buffer>) => this.#streams.push(new Stream(call))) as never,
      getRunInput: ((call: { request: { token: Buffer } }, answer: (error: null, value: { input: Buffer }) => void) => {
        this.asked.push(call.request.token.toString());
        answer(null, { input: this.runInput });
      }) as never,
    });
    const port = await new Promise<number>((resolve, reject) =>
      this.#server.bindAsync("127.0.0.1:0", credentials, (error, bound) => (error ? reject(error) : resolve(bound))),
    );
    this.target = `127.0.0.1:${port}`;
    return this;
  }

  /** The next stream that a worker opens. */
  next(): Promise<Stream> {
    return this.#streams.next();
  }

  stop(): void {
    this.#server.forceShutdown();
  }

  [Symbol.dispose](): void {
    this.stop();
  }
}

/** A logger that keeps its lines. */
export class Lines implements Logger {
  readonly lines: string[] = [];
  readonly #waiting = new Set<() => void>();
  readonly debug = this.#keeper("debug");
  readonly info = this.#keeper("info");
  readonly warn = this.#keeper("warn");
  readonly error = this.#keeper("error");

  #keeper(level: string): (message: string) => void {
    return (message) => {
      this.lines.push(`${level} ${message}`);
      for (const look of this.#waiting) look();
    };
  }

  /** Waits for a line. */
  until(pattern: RegExp): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!this.lines.some((line) => pattern.test(line))) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
      look();
    });
  }
}
