/** One Work stream from Hello to its end: reads frames, writes what the session has to say, beats. */
import { setTimeout as delay } from "node:timers/promises";
import type { ClientDuplexStream, ServiceError } from "@grpc/grpc-js";

import { StepgresError } from "./errors.js";
import type { LeasedTask, WorkRequest, WorkResponse } from "./gen/stepgres/v1/worker.js";
import type { Session } from "./session.js";
import { fromServiceError } from "./status.js";

/** Longest wait for Welcome. */
const HANDSHAKE_MS = 10_000;
/** Progress is sent at most once in so many milliseconds. */
const PROGRESS_MS = 1_000;
/** How long a leaving worker waits for Welcome, and for the coordinator to close the stream. */
const GOODBYE_MS = 2_000;
const GOODBYE: WorkRequest = { frame: { $case: "goodbye", value: { reason: "the worker stops" } } };

/** A stream in use by a session. */
export class Link {
  /** The stream is over, or nothing of it counts any more. */
  ended = false;
  /** Why it ended; undefined when the other side closed it with OK. */
  error: StepgresError | undefined;
  /** When Welcome came; undefined before. */
  welcomed: number | undefined;
  /** Resolves `open` or `leave`. */
  #settle: () => void = () => undefined;
  #timer: NodeJS.Timeout | undefined;
  #sent = performance.now();
  #beaten = 0;
  /** Since when results wait with no frame coming in; undefined: something came, or nothing was sent. */
  #waitingSince: number | undefined;
  #scheduled = false;
  #blocked = false;
  #heldBack: LeasedTask[] | undefined;

  constructor(
    private readonly call: ClientDuplexStream<WorkRequest, WorkResponse>,
    private readonly session: Session,
    /** Called when the link ends or its coordinator drains. */
    private readonly changed: () => void,
  ) {
    const { target } = session.options.client.transport;
    call.on("data", (frame: WorkResponse) => this.#receive(frame));
    call.on("end", () => this.close());
    call.on("error", (error: ServiceError) => this.close(fromServiceError(error, target)));
  }

  /** A newer stream lists what the session holds: tasks that still come here are not in the list, so they wait. */
  supersede(): void {
    this.#heldBack = [];
  }

  /** The newer stream came to nothing: the tasks that waited are ours after all. */
  restore(): void {
    const tasks = this.#heldBack ?? [];
    this.#heldBack = undefined;
    this.session.receiveTasks(tasks);
  }

  /**
   * Says Hello, waits for Welcome, and makes this the session's stream.
   *
   * @param leaving when aborted, Welcome is waited for a little longer: without a Goodbye its session would live on.
   * @throws StepgresError when the stream ended before, or no Welcome came within 10 s.
   */
  async open(leaving: AbortSignal): Promise<void> {
    const hurry = (): void => void setTimeout(this.#settle, GOODBYE_MS).unref();
    leaving.addEventListener("abort", hurry);
    await this.#settled(leaving.aborted ? GOODBYE_MS : HANDSHAKE_MS, () => this.call.write(this.session.hello()));
    leaving.removeEventListener("abort", hurry);
    if (this.welcomed !== undefined) return;
    this.close();
    throw this.error ?? new StepgresError("the coordinator did not answer Hello with Welcome.");
  }

  /** Lets the stream go at once; what was not acknowledged is sent again on the next one. */
  close(error?: StepgresError): void {
    if (this.ended) return;
    this.ended = true;
    this.error = error;
    clearInterval(this.#timer);
    this.session.detach(this.#wake);
    this.call.cancel();
    this.#settle();
    this.changed();
  }

  /** Sends what is left and Goodbye, half-closes, and waits for the other side to close. */
  async leave(): Promise<void> {
    this.session.detach(this.#wake);
    await this.#settled(GOODBYE_MS, () => {
      for (const frame of [...this.session.frames(), GOODBYE]) this.call.write(frame);
      this.call.end();
    });
    this.close();
  }

  /** Does something and waits for Welcome or the end, whichever comes first, but not for ever. */
  async #settled(timeoutMs: number, action: () => void): Promise<void> {
    if (this.ended) return;
    const settled = new Promise<void>((resolve) => (this.#settle = resolve));
    action();
    await Promise.race([settled, delay(timeoutMs, undefined, { ref: false })]);
  }

  #receive({ frame }: WorkResponse): void {
    const { session } = this;
    if (this.ended) return;
    this.#waitingSince = undefined;
    if (this.welcomed === undefined) {
      if (frame?.$case !== "welcome") return this.close();
      this.welcomed = this.#beaten = performance.now();
      session.attach(frame.value, this.#wake);
      const periodMs = Math.min(PROGRESS_MS, frame.value.heartbeatMs / 3);
      this.#timer = setInterval(() => this.#beat(periodMs), periodMs);
      return this.#settle();
    }
    switch (frame?.$case) {
      case "taskBatch":
        if (this.#heldBack) this.#heldBack.push(...frame.value.tasks);
        else session.receiveTasks(frame.value.tasks);
        return;
      case "ackBatch":
        return session.receiveAcks(frame.value.acks);
      case "cancelTasks":
      case "leaseLost":
        return session.receiveStops(frame.value);
      case "ping":
        return session.beat();
      case "drain":
        session.options.logger.info(
          `the coordinator drains (${frame.value.reason || "no reason given"}); moving to another`,
        );
        session.draining = true;
        return this.changed();
      default: // frames that a newer protocol adds
    }
  }

  /** What becomes due in one turn of the event loop travels in one frame. */
  readonly #wake = (): void => {
    if (this.#scheduled || this.#blocked) return;
    this.#scheduled = true;
    setImmediate(this.#write);
  };

  readonly #write = (): void => {
    this.#scheduled = false;
    if (this.call.writableEnded || this.ended) return;
    for (const frame of this.session.frames()) {
      this.#sent = performance.now();
      if (frame.frame?.$case === "resultBatch") this.#waitingSince ??= this.#sent;
      if (!this.call.write(frame)) this.#blocked = true;
    }
    if (!this.#blocked) return;
    this.call.once("drain", () => {
      this.#blocked = false;
      this.#wake();
    });
  };

  #beat(periodMs: number): void {
    const { heartbeatMs, leaseMs } = this.session.welcome;
    const now = performance.now();
    const lateMs = Math.round(now - this.#beaten - periodMs);
    this.#beaten = now;
    if (lateMs > leaseMs / 3) {
      const { logger } = this.session.options;
      logger.warn(`the event loop was held for ${lateMs} ms; compute in worker threads, or in small pieces`);
    }
    if (this.session.reports.size || now - this.#sent >= heartbeatMs - periodMs) this.session.beat();
    if (this.#waitingSince !== undefined && this.session.kept.size && now - this.#waitingSince > leaseMs) {
      this.close(new StepgresError(`no answer to results came for ${leaseMs} ms`));
    }
  }
}
