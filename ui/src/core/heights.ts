// Row heights with prefix sums in a Fenwick tree: the top of a row, and the row at a height, in O(log n).
export class Heights {
  #tree: Float64Array;
  #values: number[];

  constructor(values: number[]) {
    this.#values = values;
    this.#tree = new Float64Array(values.length + 1);
    for (let i = 1; i <= values.length; i += 1) {
      this.#tree[i] = (this.#tree[i] ?? 0) + (values[i - 1] ?? 0);
      const parent = i + (i & -i);
      if (parent <= values.length) this.#tree[parent] = (this.#tree[parent] ?? 0) + (this.#tree[i] ?? 0);
    }
  }

  get length(): number {
    return this.#values.length;
  }

  at(index: number): number {
    return this.#values[index] ?? 0;
  }

  set(index: number, value: number): void {
    const delta = value - this.at(index);
    this.#values[index] = value;
    for (let i = index + 1; i < this.#tree.length; i += i & -i) this.#tree[i] = (this.#tree[i] ?? 0) + delta;
  }

  /** The sum of the heights before a row. */
  top(index: number): number {
    let sum = 0;
    for (let i = Math.min(index, this.#values.length); i > 0; i -= i & -i) sum += this.#tree[i] ?? 0;
    return sum;
  }

  get total(): number {
    return this.top(this.#values.length);
  }

  /** The index of the row at a height; beyond the end, of the last row. */
  find(height: number): number {
    let index = 0;
    let rest = height;
    for (let step = 2 ** Math.floor(Math.log2(Math.max(1, this.#values.length))); step > 0; step >>= 1) {
      const sum = this.#tree[index + step];
      if (sum !== undefined && sum <= rest) {
        index += step;
        rest -= sum;
      }
    }
    return Math.min(index, Math.max(0, this.#values.length - 1));
  }
}
