/** Waiting: timers that Node can hold, and backoff with full jitter. */
import { setTimeout as delay } from "node:timers/promises";

/** The longest delay of Node's timers; longer ones would fire at once. */
export const MAX_DELAY_MS = 2 ** 31 - 1;

/** Waits; returns early when the signal is aborted. */
export async function sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
  await delay(delayMs, undefined, { signal }).catch(() => undefined);
}

/**
 * Milliseconds to wait before try `attempt` + 1: random between 0 and min(cap, 100 ms * 2^attempt).
 *
 * @param attempt failed tries before, from 0.
 */
export function fullJitterMs(attempt: number, capMs: number): number {
  return Math.random() * Math.min(capMs, 100 * 2 ** attempt);
}
