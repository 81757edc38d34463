// The fleet: the summaries of all workcells, kept up to date by the fields that change.
import type { Fleet as FleetMessage, Summary } from '../contract.ts';
import { timeOf } from './event.ts';

const EMPTY: Omit<Summary, 'id'> = {
  epoch: 0,
  base: 0,
  head: 0,
  status: 'new',
  agent: null,
  model: null,
  issue_id: null,
  counts: {},
  unknown: {},
  usage: {},
  cost_usd: null,
  cost_computed_usd: null,
  duration_ms: 0,
  tools_ms: 0,
  errors: 0,
  open_calls: [],
  activity: '',
  first: null,
  last: null,
  origin: '',
};

export class Fleet {
  readonly workcells = new Map<string, Summary>();
  /** The first pages are all here. */
  complete = false;
  #seen: Set<string> | null = new Set();

  /** Take a message; null: the first pages are about to come (again), and what they lack is gone. */
  take(message: FleetMessage | null): void {
    if (message === null) {
      this.#seen = new Set();
      return;
    }
    for (const change of message.workcells) {
      const id = String(change.id);
      this.workcells.set(id, { ...EMPTY, ...this.workcells.get(id), ...change, id });
      this.#seen?.add(id);
    }
    for (const id of message.removed) this.workcells.delete(id);
    if (message.more || this.#seen === null) return;
    for (const id of this.workcells.keys()) if (!this.#seen.has(id)) this.workcells.delete(id);
    this.#seen = null;
    this.complete = true;
  }
}

/**
 * Running first, by their beginning; then the others by their end; newest first.
 * No place hangs on the last event of what goes on: a row moves when a run begins or ends, at no other time.
 */
export function sorted(workcells: Iterable<Summary>): Summary[] {
  const placed = [...workcells].map((workcell) => ({
    workcell,
    rank: workcell.status === 'running' ? 0 : 1,
    time: timeOf({ timestamp: markOf(workcell)?.timestamp }) ?? 0,
  }));
  placed.sort((a, b) => a.rank - b.rank || b.time - a.time || (a.workcell.id < b.workcell.id ? -1 : 1));
  return placed.map(({ workcell }) => workcell);
}

function markOf({ status, first, last }: Summary): Summary['first'] {
  return status === 'running' || status === 'new' ? first : last;
}

/** Whether every word of the filter occurs in what a workcell's card shows. */
export function matches(workcell: Summary, filter: string, status: string): boolean {
  if (status !== '' && workcell.status !== status) return false;
  const { id, issue_id, agent, model, activity } = workcell;
  const text =
    `${id} ${issue_id ?? ''} ${agent ?? ''} ${model ?? ''} ${activity} ${workcell.status}`.toLowerCase();
  return filter
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}
