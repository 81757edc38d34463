// The rows that are drawn now, and their measured heights.
import type { VirtualList } from '../core/virtual.ts';

export class Rows {
  readonly #list: VirtualList;
  readonly #elements = new Map<number, HTMLElement>();
  readonly #observer: ResizeObserver;

  constructor(list: VirtualList, changed: () => void) {
    this.#list = list;
    this.#observer = new ResizeObserver(() => {
      if (this.measure()) changed();
    });
  }

  add(key: number, element: HTMLElement): () => void {
    this.#elements.set(key, element);
    this.#observer.observe(element);
    return () => {
      if (this.#elements.get(key) === element) this.#elements.delete(key);
      this.#observer.unobserve(element);
    };
  }

  measure(): boolean {
    let changed = false;
    for (const [key, element] of this.#elements) {
      if (this.#list.measure(key, element.getBoundingClientRect().height)) changed = true;
    }
    return changed;
  }

  stop(): void {
    this.#observer.disconnect();
  }
}
