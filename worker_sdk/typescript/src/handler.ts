/** Which function answers to which handler name. */
import type { TaskContext } from "./context.js";
import type { Subscription } from "./gen/stepgres/v1/worker.js";
import { stringifyJson } from "./json.js";

/** A function that executes tasks; what it returns, or what its promise resolves to, is the output. */
export type Handler<Input = never, Output = unknown> = (input: Input, ctx: TaskContext) => Output | Promise<Output>;

/** What the catalogue shows of a handler, and what its errors mean. */
export interface HandlerOptions {
  /** Serve the step of this flow: the handler's name becomes `<flow>.<name>`. */
  readonly flow?: string;
  /** For people and agents, up to 8192 characters. */
  readonly description?: string;
  /** JSON Schema of the step's params. */
  readonly paramsSchema?: object;
  /** JSON Schema of the input; for maps of `{"item": …, "index": …}`. */
  readonly inputSchema?: object;
  /** JSON Schema of the output. */
  readonly outputSchema?: object;
  /** Classes of errors that fail a task for good, whatever attempts are left. */
  readonly nonRetryable?: readonly (abstract new (...args: never[]) => Error)[];
}

/** A function and what is said of it. */
export interface Entry extends HandlerOptions {
  readonly call: Handler<unknown>;
}

/** Handlers by name. */
export class Registry extends Map<string, Entry> {
  /**
   * Binds a function to a name.
   *
   * @throws TypeError when the name is bound to another function.
   */
  add(name: string, handler: Handler, options: HandlerOptions = {}): void {
    const entry = { ...options, call: handler as Handler<unknown> };
    const known = this.get(name) ?? entry;
    if (known.call !== entry.call) {
      throw new TypeError(`handler ${name} is bound to another function already; give this one another name`);
    }
    this.set(name, known);
  }

  /** How Hello subscribes to all of them. */
  subscription(scope: string): Subscription {
    const handlers = [...this].map(([name, { description = "", paramsSchema, inputSchema, outputSchema }]) => ({
      name,
      description,
      paramsSchema: schema(paramsSchema),
      inputSchema: schema(inputSchema),
      outputSchema: schema(outputSchema),
    }));
    return { scope, handlers };
  }
}

function schema(given: object | undefined): Buffer {
  return Buffer.from(given ? stringifyJson(given) : "");
}
