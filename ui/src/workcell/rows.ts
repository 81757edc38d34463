// The rows drawn now, and their measured heights.
import type { VirtualList } from '../core/virtual.ts';

export class Rows {
  readonly #list: VirtualList;
  readonly #changed: () => void;
  readonly #elements = new Map<number, HTMLElement>();
  #observer: ResizeObserver | null = null;

  /** `changed` is called when a row's height has changed. */
  constructor(list: VirtualList, changed: () => void) {
    this.#list = list;
    this.#changed = changed;
  }

  /** Observe a row's element; returns how to stop that. */
  readonly add = (key: number, element: HTMLElement): (() => void) => {
    this.#observer ??= new ResizeObserver(() => {
      if (this.measure()) this.#changed();
    });
    this.#elements.set(key, element);
    this.#observer.observe(element);
    return () => {
      if (this.#elements.get(key) === element) this.#elements.delete(key);
      this.#observer?.unobserve(element);
    };
  };

  /** Hand the current heights to the list; returns whether one has changed. */
  measure(): boolean {
    let changed = false;
    for (const [key, element] of this.#elements) {
      if (this.#list.measure(key, element.getBoundingClientRect().height)) changed = true;
    }
    return changed;
  }

  stop(): void {
    this.#observer?.disconnect();
  }
}
