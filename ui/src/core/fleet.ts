// The fleet: the summaries of all workcells, updated by the fields that change.
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
  /** Every status that any workcell has had so far. */
  readonly statuses = new Set<Summary['status']>();
  /** All first pages have arrived. */
  complete = false;
  #seen: Set<string> | null = new Set();

  /** Apply a message; null announces new first pages, and workcells missing from those are removed. */
  apply(message: FleetMessage | null): void {
    if (message === null) {
      this.#seen = new Set();
      return;
    }
    for (const change of message.workcells) {
      const id = String(change.id);
      const workcell = { ...EMPTY, ...this.workcells.get(id), ...change, id };
      this.workcells.set(id, workcell);
      this.statuses.add(workcell.status);
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
 * Running workcells by their start, then the others by their end, newest first.
 * The order does not depend on the last event of a running workcell: a row moves only when a run starts or ends.
 */
export function sorted(workcells: Iterable<Summary>): Summary[] {
  const keyed = [...workcells].map((workcell) => ({
    workcell,
    rank: workcell.status === 'running' ? 0 : 1,
    time: timeOf({ timestamp: sortMark(workcell)?.timestamp }) ?? 0,
  }));
  keyed.sort((a, b) => a.rank - b.rank || b.time - a.time || (a.workcell.id < b.workcell.id ? -1 : 1));
  return keyed.map(({ workcell }) => workcell);
}

/** The event whose time decides the order. */
function sortMark({ status, first, last }: Summary): Summary['first'] {
  return status === 'running' || status === 'new' ? first : last;
}

/** Whether a workcell has the status (if one is given) and its card shows every word of the filter. */
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
