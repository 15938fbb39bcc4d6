/** The TypeScript SDK of stepgres: serve handlers, define flows, start and watch runs. */
export { Client } from "./client.js";
export type { CallOptions, ClientOptions, Options, RunSpec, StartOptions } from "./client.js";
export type { TaskContext } from "./context.js";
export * from "./errors.js";
export type { ExecuteOptions, StepFunctions } from "./execute.js";
export { Flow } from "./flow.js";
export type { AnyFlow, FlowOptions, MapInput, Plan, PlanLike, Step, StepOptions, StepRef } from "./flow.js";
export { ErrorReason, RunStatus, StepStatus, StepType, TaskStatus, View } from "./gen/stepgres/v1/common.js";
export type * as flow from "./gen/stepgres/v1/flow.js";
export type * as run from "./gen/stepgres/v1/run.js";
export type { Handler, HandlerOptions } from "./handler.js";
export { decodePayload, parseJson, stringifyJson, type JsonValue } from "./json.js";
export { stderrLogger, type Logger } from "./log.js";
export { Run, type ResultOptions, type RunSnapshot, type WatchOptions } from "./run.js";
export type { ConnectionOptions, TlsOptions } from "./transport.js";
export { VERSION } from "./version.js";
export { Worker, type WorkerOptions } from "./worker.js";
