// How long something has been running; empty during the first second.
import { duration } from '../core/format.ts';
import { now } from './state.ts';

export function RunningTime({ since }: { since: number }) {
  const passed = now.value - since;
  return passed < 1_000 ? null : <span class="running-time">{duration(passed)}</span>;
}
