// The delay before the next attempt: exponential, with full jitter above a floor.
import type { Clock } from './clock.ts';

const FLOOR_MS = 250;
const CEILING_MS = 10_000;

/** Between 250 ms and 10 s; jittered, so that not all viewers reconnect to a restarted gateway at once. */
export function backoff(attempt: number, clock: Clock): number {
  const ceiling = Math.min(CEILING_MS, FLOOR_MS * 2 ** Math.min(attempt + 1, 10));
  return FLOOR_MS + clock.random() * (ceiling - FLOOR_MS);
}
