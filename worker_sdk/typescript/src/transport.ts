/** All of gRPC: addresses, channels, credentials, calls. */
import { createSecureContext, type SecureContextOptions } from "node:tls";
import * as grpc from "@grpc/grpc-js";

import { StepgresError } from "./errors.js";
import { RunServiceClient, type WatchRunRequest, type WatchRunResponse } from "./gen/stepgres/v1/run.js";
import { WorkerServiceClient, type WorkRequest, type WorkResponse } from "./gen/stepgres/v1/worker.js";
import { fromServiceError } from "./status.js";
import { VERSION } from "./version.js";

/** Largest message, either way. */
export const MAX_MESSAGE_BYTES = 20 * 1024 * 1024;
const OPTIONS: grpc.ChannelOptions = {
  "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
  "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
  // Published numbers: ping after 15 s, give up 10 s later; servers allow a ping each 10 s.
  "grpc.keepalive_time_ms": 15_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.keepalive_permit_without_calls": 1,
  "grpc.primary_user_agent": `stepgres-worker-typescript/${VERSION}`,
  // Spreads workers over the addresses of a name, so that a reconnect may land elsewhere.
  "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ pick_first: { shuffleAddressList: true } }] }),
  // A channel waits a second, not twenty, before it tries an address again that refused.
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1_000,
};
const DEFAULT_TARGET = "127.0.0.1:50051";
/** What ends with a port and is no URL: host:port, or several of them for gRPC's own schemes. */
const ADDRESS = /^(?:dns:(?:\/\/[^/]*\/)?|ipv[46]:)?[^/]+:(\d+)$/;

/** Certificates as Node takes them: `ca` to trust (default: Node's roots), our `cert` and `key`, and more. */
export interface TlsOptions extends SecureContextOptions {
  /** Name in the coordinator's certificate, where it is not the target's. */
  readonly serverName?: string;
}

/** How to reach a coordinator. */
export interface ConnectionOptions {
  /** host:port or a gRPC target such as `dns:///name:port`. Default: STEPGRES_TARGET, else 127.0.0.1:50051. */
  readonly target?: string | undefined;
  /** TLS; true trusts Node's roots. Default: plaintext. */
  readonly tls?: boolean | TlsOptions | undefined;
  /** Sent with each call as `authorization: Bearer <token>`; a function is asked each time. Use it with TLS only. */
  readonly token?: string | (() => string | Promise<string>) | undefined;
}

/** Calls a coordinator; the connection opens at first use. */
export class Transport {
  /** The address. */
  readonly target: string;
  readonly #credentials: grpc.ChannelCredentials;
  readonly #options: grpc.ChannelOptions;
  readonly #token: ConnectionOptions["token"];
  #channel: RunServiceClient | undefined;

  constructor({ target, tls, token }: ConnectionOptions) {
    this.target = resolveTarget(target);
    this.#token = token;
    const { serverName, ...context }: TlsOptions = typeof tls === "object" ? tls : {};
    this.#credentials = tls
      ? grpc.credentials.createFromSecureContext(createSecureContext(context))
      : grpc.credentials.createInsecure();
    this.#options = serverName
      ? { ...OPTIONS, "grpc.ssl_target_name_override": serverName, "grpc.default_authority": serverName }
      : OPTIONS;
  }

  /**
   * One unary call, tried once.
   *
   * @throws RequestError when it was refused, or nobody answered; the signal's reason when that was aborted.
   */
  async call<Req, Res>(method: grpc.MethodDefinition<Req, Res>, request: Req, timeoutMs: number, signal?: AbortSignal) {
    const metadata = await this.#metadata();
    signal?.throwIfAborted();
    return new Promise<Res>((resolve, reject) => {
      const done = (error: grpc.ServiceError | null, answer?: Res): void => {
        signal?.removeEventListener("abort", cancel);
        if (error) reject(signal?.aborted ? signal.reason : fromServiceError(error, this.target));
        else resolve(answer!);
      };
      const options = { deadline: Date.now() + timeoutMs };
      const { path, requestSerialize: encode, responseDeserialize: decode } = method;
      const call = this.#open().makeUnaryRequest(path, encode, decode, request, metadata, options, done);
      const cancel = (): void => call.cancel();
      signal?.addEventListener("abort", cancel);
    });
  }

  /** The frames of one WatchRun call. Leaving the loop ends the call. */
  async *watch(request: WatchRunRequest, signal?: AbortSignal): AsyncGenerator<WatchRunResponse, void> {
    const metadata = await this.#metadata();
    if (signal?.aborted) return;
    const call = this.#open().watchRun(request, metadata);
    const cancel = (): void => call.cancel();
    signal?.addEventListener("abort", cancel);
    try {
      for await (const frame of call) yield frame as WatchRunResponse;
    } catch (error) {
      throw fromServiceError(error as grpc.ServiceError, this.target);
    } finally {
      signal?.removeEventListener("abort", cancel);
      call.on("error", () => undefined); // of our own cancelling
      call.cancel();
    }
  }

  /** A new Work stream on a connection of its own: one that a Drain asks for must not share the draining one's. */
  async openWork(): Promise<grpc.ClientDuplexStream<WorkRequest, WorkResponse>> {
    const metadata = await this.#metadata();
    const options = { ...this.#options, "grpc.use_local_subchannel_pool": 1 };
    const client = new WorkerServiceClient(this.target, this.#credentials, options);
    return client.work(metadata).on("status", () => client.close());
  }

  /** Closes the connection; a later call opens a new one. */
  close(): void {
    this.#channel?.close();
    this.#channel = undefined;
  }

  /** A channel; what it calls besides RunService is given by its method. */
  #open(): RunServiceClient {
    return (this.#channel ??= new RunServiceClient(this.target, this.#credentials, this.#options));
  }

  async #metadata(): Promise<grpc.Metadata> {
    const metadata = new grpc.Metadata();
    try {
      const token = typeof this.#token === "function" ? await this.#token() : this.#token;
      if (token) metadata.set("authorization", `Bearer ${token}`);
    } catch (error) {
      throw new StepgresError(`token: it could not be had: ${String(error)}`, { cause: error });
    }
    return metadata;
  }
}

/**
 * The address to call: the argument, else STEPGRES_TARGET, else 127.0.0.1:50051.
 *
 * @throws TypeError when it is none; the text names the form.
 */
export function resolveTarget(target?: string): string {
  const address = target || process.env["STEPGRES_TARGET"] || DEFAULT_TARGET;
  const port = Number(ADDRESS.exec(address)?.[1]);
  if (!/^unix:./.test(address) && !(port >= 1 && port <= 65_535)) {
    const name = target ? "target" : "STEPGRES_TARGET";
    throw new TypeError(
      `${name}: ${JSON.stringify(address)} is no address; write host:port, such as ${DEFAULT_TARGET}`,
    );
  }
  return address;
}
