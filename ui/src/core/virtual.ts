// A virtual list: which rows to draw, and where the view stays while rows are added, prepended or resized.
import { Heights } from './heights.ts';

/** A row, and the distance from its top down to the top of the view. */
export interface Anchor {
  readonly key: number;
  readonly delta: number;
}

export interface Slice {
  readonly from: number;
  readonly to: number;
}

export class VirtualList {
  /** Whether the view sticks to the end, until the user moves it. */
  following = true;
  #keys: readonly number[] = [];
  #heights = new Heights([]);
  readonly #measured = new Map<number, number>();
  #estimate: number;
  readonly #padding: number;
  #anchor: Anchor | null = null;

  /** `estimate` is the height of a row not measured yet, `padding` the room before the first and after the last row. */
  constructor(estimate = 48, padding = 0) {
    this.#estimate = estimate;
    this.#padding = padding;
  }

  /** Set the rows, by ascending key. A key keeps its measured height. */
  setKeys(keys: readonly number[]): void {
    const before = this.#keys;
    if (keys.length === before.length && keys.every((key, index) => key === before[index])) return;
    // A new estimate moves all rows below, so it is made only when the rows above the view change.
    if (keys[0] !== before[0]) this.#reestimate();
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

  /** Set a row's height, in whole pixels: fractions would add up and move the view. Returns whether it changed. */
  measure(key: number, height: number): boolean {
    const whole = Math.ceil(height);
    if (whole === 0 || this.#measured.get(key) === whole) return false;
    this.#measured.set(key, whole);
    const index = this.indexOf(key);
    if (this.#keys[index] === key) this.#heights.set(index, whole);
    return true;
  }

  /** The index of the first row whose key is not less than `key`, or else of the last row. */
  indexOf(key: number): number {
    let [low, high] = [0, this.#keys.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#keys[middle] ?? 0) < key) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, Math.min(low, this.#keys.length - 1));
  }

  /** The user scrolled to a position: the row there stays in place from now on. */
  scrolled(scrollTop: number): void {
    const found = this.#find(scrollTop);
    // Loading older events may merge the first row into an earlier one, but not the second.
    const index = found === 0 && this.#keys.length > 1 ? 1 : found;
    const key = this.#keys[index];
    this.#anchor = key === undefined ? null : { key, delta: scrollTop - this.top(index) };
  }

  /** Place a row so many pixels below the top of the view. */
  place(key: number, below: number): void {
    this.following = false;
    this.#anchor = { key, delta: -below };
  }

  /** The scroll position of the view now. */
  scrollTop(viewport: number): number {
    const end = Math.max(0, this.total - viewport);
    if (this.following || this.#anchor === null) return end;
    const index = this.indexOf(this.#anchor.key);
    // If the anchored row was removed, its neighbour takes its place at the top.
    const delta = this.#keys[index] === this.#anchor.key ? this.#anchor.delta : 0;
    return Math.min(end, Math.max(0, this.top(index) + delta));
  }

  /** The rows [from, to) that cover the view and `around` pixels above and below it. */
  slice(scrollTop: number, viewport: number, around: number): Slice {
    if (this.#keys.length === 0) return { from: 0, to: 0 };
    const from = this.#find(scrollTop - around);
    const to = this.#find(scrollTop + viewport + around) + 1;
    return { from, to: Math.min(to, this.#keys.length) };
  }

  /** Estimate by the mean of the measured heights: the better it is, the less the scrollbar jumps. */
  #reestimate(): void {
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
