// A bounded window over a workcell's offsets: the slots [lo, hi) of one epoch, without holes.
import type { WireEvent } from './event.ts';

/** An event, or a gap: covers the offsets [offset, until). */
export interface Slot {
  readonly offset: number;
  readonly until: number;
  readonly event: WireEvent | null;
  readonly gap: string | null;
  readonly bytes: number;
}

/** What became of events: added, already present, not adjacent to the window, or of another epoch. */
export type Verdict = 'added' | 'duplicate' | 'hole' | 'foreign';

export const MAX_SLOTS = 5_000;
export const MAX_BYTES = 8 * 2 ** 20;
/** Trimming goes down to this share of the bounds, so that its cost is spread over many events. */
const KEEP = 0.8;

export class Window {
  epoch = 0;
  base = 0;
  lo = 0;
  hi = 0;
  head = 0;
  slots: Slot[] = [];
  bytes = 0;

  /** Drop all slots and restart at an offset of an epoch. */
  restart(epoch: number, offset: number, head: number, base = 0): void {
    this.epoch = epoch;
    this.base = base;
    this.lo = this.hi = offset;
    this.head = head;
    this.slots = [];
    this.bytes = 0;
  }

  /** Append the events from `offset` on, skipping those already present; `size` is their length in characters. */
  append(epoch: number, offset: number, events: readonly WireEvent[], size: number): Verdict {
    if (epoch !== this.epoch) return 'foreign';
    if (offset > this.hi) return 'hole';
    const skip = this.hi - offset;
    if (skip >= events.length) return 'duplicate';
    const each = Math.ceil(size / events.length);
    for (const event of skip === 0 ? events : events.slice(skip)) {
      this.#push({ offset: this.hi, until: this.hi + 1, event, gap: null, bytes: each });
    }
    return 'added';
  }

  /** Append a gap: the events [offset, until) are not available. */
  appendGap(epoch: number, offset: number, until: number, reason: string): Verdict {
    if (epoch !== this.epoch) return 'foreign';
    if (offset > this.hi) return 'hole';
    if (until <= this.hi) return 'duplicate';
    this.#push({ offset: this.hi, until, event: null, gap: reason, bytes: 64 });
    return 'added';
  }

  /** Prepend the events from `offset` on, which must reach the window; `size` is their length in characters. */
  prepend(epoch: number, offset: number, events: readonly WireEvent[], size: number): Verdict {
    if (epoch !== this.epoch) return 'foreign';
    const end = offset + events.length;
    if (end < this.lo) return 'hole';
    const count = this.lo - offset;
    if (count <= 0) return 'duplicate';
    const each = Math.ceil(size / events.length);
    const slots = events
      .slice(0, count)
      .map(
        (event, i): Slot => ({ offset: offset + i, until: offset + i + 1, event, gap: null, bytes: each }),
      );
    this.slots = slots.concat(this.slots);
    this.bytes += each * count;
    this.lo = offset;
    return 'added';
  }

  get full(): boolean {
    return this.slots.length > MAX_SLOTS || this.bytes > MAX_BYTES;
  }

  /** Drop the oldest slots if the window is full; returns how many were dropped. */
  trimStart(): number {
    if (!this.full) return 0;
    let drop = 0;
    let bytes = this.bytes;
    while (this.#over(this.slots.length - drop, bytes)) bytes -= this.slots[drop++]?.bytes ?? 0;
    this.slots = this.slots.slice(drop);
    this.bytes = bytes;
    this.lo = this.slots[0]?.offset ?? this.hi;
    return drop;
  }

  /** Drop the newest slots if the window is full; returns how many were dropped. */
  trimEnd(): number {
    if (!this.full) return 0;
    const before = this.slots.length;
    while (this.#over(this.slots.length, this.bytes)) this.bytes -= this.slots.pop()?.bytes ?? 0;
    this.hi = this.slots.at(-1)?.until ?? this.lo;
    return before - this.slots.length;
  }

  /** Whether so many slots and bytes are still too many; one slot is always kept. */
  #over(slots: number, bytes: number): boolean {
    return slots > 1 && (slots > MAX_SLOTS * KEEP || bytes > MAX_BYTES * KEEP);
  }

  #push(slot: Slot): void {
    this.slots.push(slot);
    this.bytes += slot.bytes;
    this.hi = slot.until;
    if (this.head < this.hi) this.head = this.hi;
  }
}
