// Binds a virtual list to a scrolling element: follows the end until the user scrolls away.
import type { VirtualList } from '../core/virtual.ts';

export class Scroll {
  readonly list: VirtualList;
  #element: HTMLElement | null = null;
  #set = 0;
  /** Whether a pointer is held down, to drag the scrollbar or to select text. */
  #held = false;
  readonly #changed: () => void;
  /** Whether the end of the list is the end of the log, so that reaching it means following it. */
  readonly #atEndOfLog: () => boolean;

  constructor(list: VirtualList, changed: () => void, atEndOfLog: () => boolean) {
    this.list = list;
    this.#changed = changed;
    this.#atEndOfLog = atEndOfLog;
  }

  get top(): number {
    return this.#element?.scrollTop ?? 0;
  }

  get viewport(): number {
    return this.#element?.clientHeight ?? 0;
  }

  attach(element: HTMLElement): () => void {
    this.#element = element;
    const abort = new AbortController();
    const options = { signal: abort.signal, passive: true };
    element.addEventListener('scroll', () => this.#scrolled(), options);
    element.addEventListener('wheel', (event) => event.deltaY < 0 && this.leave(), options);
    element.addEventListener('touchmove', () => this.leave(), options);
    element.addEventListener(
      'pointerdown',
      () => {
        this.#held = true;
      },
      options,
    );
    window.addEventListener(
      'pointerup',
      () => {
        this.#held = false;
      },
      options,
    );
    const resized = new ResizeObserver(this.#changed);
    resized.observe(element);
    return () => {
      abort.abort();
      resized.disconnect();
      this.#element = null;
    };
  }

  /** Stop following the end: from now on the view stays where it is. */
  leave(): void {
    const element = this.#element;
    if (!this.list.following || element === null || element.scrollHeight <= element.clientHeight) return;
    this.list.following = false;
    this.list.scrolled(element.scrollTop);
    this.#changed();
  }

  follow(): void {
    this.list.following = true;
    this.#changed();
  }

  by(pixels: number): void {
    if (pixels < 0) this.leave();
    this.#element?.scrollBy({ top: pixels, behavior: 'instant' });
    // The scroll event comes with the next frame; drawing before it would move the view back.
    this.#scrolled();
  }

  /** Move the view to the list's position. */
  settle(): void {
    const element = this.#element;
    if (element === null) return;
    if (!this.list.following && this.list.total <= element.clientHeight && this.#atEndOfLog()) {
      // Everything is in view, so the end is too.
      this.list.following = true;
      this.#changed();
    }
    const wanted = Math.round(this.list.scrollTop(element.clientHeight));
    if (Math.abs(element.scrollTop - wanted) >= 1) element.scrollTop = wanted;
    this.#set = element.scrollTop;
  }

  #scrolled(): void {
    const element = this.#element;
    if (element === null || Math.abs(element.scrollTop - this.#set) < 1) return;
    const up = element.scrollTop < this.#set;
    if (this.list.following) {
      if (!this.#held || !up) return;
      this.list.following = false;
    }
    this.#set = element.scrollTop;
    this.list.scrolled(element.scrollTop);
    const atEnd = element.scrollHeight - element.clientHeight - element.scrollTop < 4;
    if (atEnd && !up && this.#atEndOfLog()) this.list.following = true;
    this.#changed();
  }
}
