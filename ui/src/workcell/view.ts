// The state of an open panel: its timeline, and the list, scroll position, rows and selection that show it.
import { signal } from '@preact/signals';
import { connection, eachFrame } from '../common/state.ts';
import { fetchPage } from '../core/history.ts';
import type { Item } from '../core/item.ts';
import { Timeline } from '../core/timeline.ts';
import { VirtualList } from '../core/virtual.ts';
import { OpenItems } from './open-items.ts';
import { Rows } from './rows.ts';
import { Scroll } from './scroll.ts';

/** Room above the first and below the last row for the texts at the edges, in pixels. */
const EDGE = 36;
const ROW_ESTIMATE = 56;
/** Distance from the top of the view to the item that the address names, in pixels. */
const WANTED_BELOW = 96;

export class View {
  readonly timeline: Timeline;
  readonly list = new VirtualList(ROW_ESTIMATE, EDGE);
  readonly scroll: Scroll;
  readonly rows: Rows;
  readonly open = new OpenItems();
  /** Grows with every change: components read it to be drawn again. */
  readonly revision = signal(0);
  /** The items as of the last refresh, which the keys of `list` belong to. */
  items: readonly Item[] = [];
  /** The window as of the last refresh. */
  range = { epoch: 0, lo: 0, hi: 0, head: 0 };
  live = false;
  /** The offset of the item selected by keys. */
  selected: number | null = null;
  /** The head when the view last followed the end: later events are new to the user. */
  #seen = 0;
  /** The offset that the address names, until it has been brought into view. */
  #wanted: number | null = null;

  /** Idle until `show` is called. */
  constructor(workcell: string) {
    const refresh = () => this.refresh();
    this.timeline = new Timeline(workcell, connection, fetchPage, eachFrame(refresh));
    this.scroll = new Scroll(this.list, refresh, () => this.timeline.attached);
    this.rows = new Rows(this.list, refresh);
  }

  /** How many events have arrived since the view last followed the end. */
  get news(): number {
    return Math.max(0, this.range.head - this.#seen);
  }

  /** Take over the timeline's changes, and have the components drawn again. */
  refresh(): void {
    const { timeline, list } = this;
    const { epoch, lo, hi, head } = timeline.window;
    this.items = timeline.items;
    this.range = { epoch, lo, hi, head };
    this.live = timeline.live;
    list.setKeys(this.items.map((item) => item.offset));
    timeline.stick(list.following);
    if (list.following) this.#seen = head;
    this.revision.value += 1;
  }

  /** Show the offset that the address names; null shows the tail at first, and later changes nothing. */
  async show(offset: number | null): Promise<void> {
    this.#wanted = offset;
    if (!(await this.timeline.show(offset)) || offset === null) return;
    // An offset beyond the end shows the tail.
    if (offset >= this.timeline.window.head) this.list.following = true;
    this.refresh();
  }

  /** After drawing: move the view to the wanted item once it is loaded. Returns whether the view moved. */
  place(): boolean {
    const { timeline } = this;
    if (this.#wanted === null) return false;
    const item = timeline.itemAt(this.#wanted);
    if (item === null) {
      // Beyond the end: the tail is shown instead, and stays when the log grows that far.
      if (timeline.phase === 'shown' && timeline.live && this.#wanted >= timeline.window.head)
        this.#wanted = null;
      return false;
    }
    this.#wanted = null;
    this.list.place(item.offset, WANTED_BELOW);
    return true;
  }

  /** Show the beginning of the log. */
  async toStart(): Promise<void> {
    this.scroll.leave();
    const { base, lo } = this.timeline.window;
    if (lo > base && !(await this.timeline.jump(base))) return;
    this.list.place(this.timeline.window.lo, 1_000);
    this.refresh();
  }

  /** Show the end of the log, and follow it. */
  toEnd(): void {
    if (!this.timeline.attached) this.timeline.toEnd();
    this.scroll.follow();
  }

  /** Select the item so many places further; without a selection, the first one in view. */
  select(step: number): void {
    const { items, list, scroll } = this;
    const { top } = scroll;
    const index =
      this.selected === null ? list.slice(top, scroll.viewport, 0).from : list.indexOf(this.selected) + step;
    const item = items[Math.max(0, Math.min(items.length - 1, index))];
    if (item === undefined) return;
    this.selected = item.offset;
    const at = list.indexOf(item.offset);
    const [begin, end] = [list.top(at), list.top(at + 1)];
    if (begin < top) {
      scroll.leave();
      list.place(item.offset, 8);
    } else if (end > top + scroll.viewport && !list.following) {
      list.place(item.offset, Math.max(8, scroll.viewport - (end - begin) - 8));
    }
    this.refresh();
  }

  toggle(item: Item): void {
    this.open.toggle(item);
    this.refresh();
  }

  close(): void {
    this.timeline.close();
    this.rows.stop();
  }
}
