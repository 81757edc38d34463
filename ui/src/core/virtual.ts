// The list in view: which rows to draw, and where the view stays while rows grow, arrive, or are prepended.
import { Heights } from './heights.ts';

/** A row, and how far the top of the view lies below that row's top. */
export interface Anchor {
  readonly key: number;
  readonly delta: number;
}

export interface Slice {
  readonly from: number;
  readonly to: number;
}

export class VirtualList {
  /** Stuck to the end; ends only by the user's own input. */
  following = true;
  #keys: readonly number[] = [];
  #heights = new Heights([]);
  readonly #measured = new Map<number, number>();
  #estimate: number;
  readonly #padding: number;
  #anchor: Anchor | null = null;

  /** `padding` is the room before the first and after the last row. */
  constructor(estimate = 48, padding = 0) {
    this.#estimate = estimate;
    this.#padding = padding;
  }

  /** The rows, by ascending key. A key keeps the height it was measured with. */
  setKeys(keys: readonly number[]): void {
    const before = this.#keys;
    if (keys.length === before.length && keys.every((key, index) => key === before[index])) return;
    // Rows above the view are guessed anew only when they change: each guess moves what lies below.
    if (keys[0] !== before[0]) this.#guess();
    this.#keys = keys;
    this.#heights = new Heights(keys.map((key) => this.#measured.get(key) ?? this.#estimate));
    if (this.#measured.size > 4 * keys.length + 1_000) this.#forget();
  }

  get total(): number {
    return this.#heights.total + 2 * this.#padding;
  }

  top(index: number): number {
    return this.#padding + this.#heights.top(index);
  }

  /** Whole pixels: fractions would add up to a view that creeps. Returns whether anything changed. */
  measure(key: number, height: number): boolean {
    const whole = Math.ceil(height);
    if (whole === 0 || this.#measured.get(key) === whole) return false;
    this.#measured.set(key, whole);
    const index = this.indexOf(key);
    if (this.#keys[index] === key) this.#heights.set(index, whole);
    return true;
  }

  /** The first row whose key is not less; the last one if there is none. */
  indexOf(key: number): number {
    let [low, high] = [0, this.#keys.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#keys[middle] ?? 0) < key) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, Math.min(low, this.#keys.length - 1));
  }

  /** The user scrolled there: from now on this is what stays in place. */
  scrolled(scrollTop: number): void {
    const found = this.#find(scrollTop);
    // The first row may become part of an earlier one when older events are loaded; the second stays what it is.
    const index = found === 0 && this.#keys.length > 1 ? 1 : found;
    const key = this.#keys[index];
    this.#anchor = key === undefined ? null : { key, delta: scrollTop - this.top(index) };
  }

  /** Put a row at so many pixels below the top of the view. */
  place(key: number, below: number): void {
    this.following = false;
    this.#anchor = { key, delta: -below };
  }

  /** Where the view must be now. */
  scrollTop(viewport: number): number {
    const end = Math.max(0, this.total - viewport);
    if (this.following || this.#anchor === null) return end;
    const index = this.indexOf(this.#anchor.key);
    // If the anchored row is gone, its neighbour takes its place at the top.
    const delta = this.#keys[index] === this.#anchor.key ? this.#anchor.delta : 0;
    return Math.min(end, Math.max(0, this.top(index) + delta));
  }

  /** The rows [from, to) that cover the view and so many pixels around it. */
  slice(scrollTop: number, viewport: number, around: number): Slice {
    if (this.#keys.length === 0) return { from: 0, to: 0 };
    const from = this.#find(scrollTop - around);
    const to = this.#find(scrollTop + viewport + around) + 1;
    return { from, to: Math.min(to, this.#keys.length) };
  }

  /** The mean of what was measured: the nearer the guess, the less the scrollbar jumps. */
  #guess(): void {
    if (this.#measured.size < 20) return;
    let sum = 0;
    for (const height of this.#measured.values()) sum += height;
    this.#estimate = Math.ceil(sum / this.#measured.size);
  }

  #find(y: number): number {
    return this.#heights.find(Math.max(0, y - this.#padding));
  }

  #forget(): void {
    const kept = new Set(this.#keys);
    for (const key of this.#measured.keys()) if (!kept.has(key)) this.#measured.delete(key);
  }
}
