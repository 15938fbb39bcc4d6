/** Inputs of runs: asked for once per run and worker, whoever of its tasks asks first. */
import type { Client } from "./client.js";
import { NotFound } from "./errors.js";
import { WorkerServiceService, type LeasedTask } from "./gen/stepgres/v1/worker.js";

/** How many runs' inputs are kept; one has 1 MiB at most where the coordinator does not say otherwise. */
const MAX_RUNS = 100;

/** Remembers the inputs that were used last. */
export class RunInputs {
  /** By run, the one used last at the end. */
  readonly #kept = new Map<string, Promise<Buffer>>();

  constructor(private readonly client: Client) {}

  /**
   * The input of a task's run.
   *
   * @throws NotFound when the task's lease is not held any more.
   */
  async get({ runId, token }: LeasedTask): Promise<Buffer> {
    for (;;) {
      const known = this.#kept.get(runId);
      const answer = known ?? this.client.call(WorkerServiceService.getRunInput, { token }).then(({ input }) => input);
      this.#kept.delete(runId);
      this.#kept.set(runId, answer);
      if (this.#kept.size > MAX_RUNS) this.#kept.delete([...this.#kept.keys()][0]!);
      try {
        return await answer;
      } catch (error) {
        if (this.#kept.get(runId) === answer) this.#kept.delete(runId);
        // The one who asked has lost its lease meanwhile; ours is another one.
        if (!known || !(error instanceof NotFound)) throw error;
      }
    }
  }
}
