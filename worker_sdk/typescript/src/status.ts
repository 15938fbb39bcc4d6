/** From a gRPC status to the error class that belongs to it. */
import * as grpc from "@grpc/grpc-js";

import * as errors from "./errors.js";
import { BadRequest, ErrorInfo } from "./gen/google/rpc/error_details.js";
import { Status } from "./gen/google/rpc/status.js";

/** By status code; what is not listed becomes RequestError. */
const CLASSES: Readonly<Record<string, typeof errors.RequestError>> = {
  INVALID_ARGUMENT: errors.InvalidArgument,
  NOT_FOUND: errors.NotFound,
  ALREADY_EXISTS: errors.AlreadyExists,
  FAILED_PRECONDITION: errors.FailedPrecondition,
  PERMISSION_DENIED: errors.PermissionDenied,
  UNAUTHENTICATED: errors.Unauthenticated,
  RESOURCE_EXHAUSTED: errors.ResourceExhausted,
  DEADLINE_EXCEEDED: errors.DeadlineExceeded,
  UNAVAILABLE: errors.Unavailable,
  CANCELLED: errors.Unavailable, // not by us: a server that shuts down ends so what it has not begun
};

/** What Node and gRPC say when a connection fails, and the same for people; the first that is found counts. */
const CAUSES: readonly (readonly [RegExp, string])[] = [
  [/econnrefused|connection refused/i, "connection refused"],
  [/enotfound|name resolution failed/i, "its name does not resolve"],
  [/certificate/i, "its certificate is not trusted"],
  [/keepalive|timeout|etimedout/i, "it does not answer"],
  [/unreach/i, "it cannot be reached"],
  [/goaway|cancelled/i, "the coordinator went away"],
  [/reset|epipe|dropped|closed/i, "the connection was closed"],
];

/** Reads what grpc-js threw, with its google.rpc.Status details; `target` is named when nobody answers there. */
export function fromServiceError(error: grpc.ServiceError, target: string): errors.RequestError {
  const text = error.details ?? error.message;
  const code = grpc.status[error.code] ?? "UNKNOWN";
  let violations: errors.FieldViolation[] = [];
  let info = ErrorInfo.create();
  for (const { typeUrl, value } of detailsOf(error)) {
    if (typeUrl.endsWith("/google.rpc.BadRequest")) violations = BadRequest.decode(value).fieldViolations;
    if (typeUrl.endsWith("/google.rpc.ErrorInfo")) info = ErrorInfo.decode(value);
  }
  const kind = CLASSES[code] ?? errors.RequestError;
  if (kind !== errors.Unavailable || info.reason) return new kind(text, code, info.reason, violations, info.metadata);
  const cause = CAUSES.find(([sign]) => sign.test(text))?.[1] ?? text;
  const message =
    `no coordinator answers at ${target} (${cause}). Does \`stepgres dev\` or \`stepgres serve\` run there? ` +
    "Set STEPGRES_TARGET to the host:port of one, or start one with `stepgres dev`.";
  return new errors.Unavailable(message, code, "", [], {}, { cause });
}

function detailsOf(error: grpc.ServiceError): Status["details"] {
  const [bytes] = error.metadata?.get("grpc-status-details-bin") ?? [];
  try {
    return bytes instanceof Buffer ? Status.decode(bytes).details : [];
  } catch {
    return []; // some proxy's; code and text stand alone
  }
}
