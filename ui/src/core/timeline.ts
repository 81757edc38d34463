// One workcell's timeline: a window filled by the live subscription and by pages of history, folded into items.
import type { Connection } from './connection.ts';
import { Fold } from './fold.ts';
import { type FetchPage, missing, PAGE_LIMIT } from './history.ts';
import type { Item } from './item.ts';
import type { Subscriber, Subscription, WorkcellMessage } from './subscription.ts';
import { type Verdict, Window } from './window.ts';
import type { From } from './wire.ts';

/** How many events at the end of the log are shown at first. */
const TAIL = 300;
/** After missing more events than this, the timeline restarts at the tail. */
const MAX_BEHIND = 20_000;

export type Phase = 'loading' | 'shown' | 'unknown' | 'refused';

export class Timeline implements Subscriber {
  readonly workcell: string;
  readonly window = new Window();
  fold = new Fold();
  phase: Phase = 'loading';
  /** Whether the window ends at the end of the log, so that live events extend it. */
  attached = true;
  live = false;
  /** A sentence about the last reconnect, reset or failed load. */
  notice = '';
  loading: 'earlier' | 'later' | 'around' | null = null;
  readonly #connect: () => Subscription;
  #subscription: Subscription | null = null;
  readonly #fetch: FetchPage;
  readonly #changed: () => void;
  #from: From = { last: TAIL };
  #sticky = true;
  #resuming = false;
  /** The token of the newest load: aborted when another one is requested, so that a late answer is dropped. */
  #request = new AbortController();

  /** Idle until `show` is called; `changed` is called after every change. */
  constructor(workcell: string, connection: Connection, fetch: FetchPage, changed: () => void) {
    this.workcell = workcell;
    this.#fetch = fetch;
    this.#changed = changed;
    this.#connect = () => connection.watch(workcell, this);
  }

  /**
   * Bring an offset into the window, or with null keep the window (at first: load the tail). Gives up any load that
   * was requested before. Returns whether it was done: false if it failed, or a later request replaced it.
   */
  async show(offset: number | null): Promise<boolean> {
    this.#giveUp();
    if (offset !== null) return this.itemAt(offset) !== null || this.jump(offset);
    if (this.phase === 'loading') this.toEnd();
    return true;
  }

  close(): void {
    this.#giveUp();
    this.#subscription?.close();
  }

  get items(): readonly Item[] {
    return this.fold.items;
  }

  /** The item that shows an offset, if it is in the window. */
  itemAt(offset: number): Item | null {
    const slots = this.window.slots;
    let [low, high] = [0, slots.length - 1];
    while (low <= high) {
      const middle = (low + high) >> 1;
      const slot = slots[middle];
      if (slot === undefined) break;
      if (offset < slot.offset) high = middle - 1;
      else if (offset >= slot.until) low = middle + 1;
      else return this.fold.owners[middle] ?? null;
    }
    return null;
  }

  /** Whether the view follows the end: if so, a full window drops its oldest events, otherwise it stops growing. */
  stick(sticky: boolean): void {
    this.#sticky = sticky;
  }

  // ── the subscriber ──────────────────────────────────────────────────────────────────────────────────────────────
  cursor(): From {
    const { epoch, hi } = this.window;
    return this.phase === 'shown' ? { epoch, offset: hi } : this.#from;
  }

  following(): boolean {
    return this.attached;
  }

  lost(): void {
    this.live = false;
    this.#resuming = this.phase === 'shown';
    this.#changed();
  }

  receive(message: WorkcellMessage, size: number): void {
    const window = this.window;
    switch (message.op) {
      case 'subscribed':
        this.#subscribed(message.epoch, message.offset, message.head);
        break;
      case 'reset':
        this.notice = this.phase === 'shown' ? 'the log was replaced: the events shown before are gone' : '';
        this.#restart(message.epoch, message.offset, message.head);
        break;
      case 'events':
        if (message.epoch === window.epoch) window.head = message.head;
        if (this.attached) {
          this.#check(window.append(message.epoch, message.offset, message.events, size));
        }
        break;
      case 'gap':
        if (this.attached) {
          this.#check(window.appendGap(message.epoch, message.offset, message.until, message.reason));
        }
        break;
      case 'head':
        if (message.epoch === window.epoch) window.head = message.head;
        break;
      case 'live':
        this.live = this.attached && message.epoch === window.epoch;
        break;
      case 'error':
        this.#refused(message.code, message.message);
    }
    this.#changed();
  }

  #subscribed(epoch: number, offset: number, head: number): void {
    const window = this.window;
    if (this.phase !== 'shown' || epoch !== window.epoch || (this.attached && offset !== window.hi)) {
      if (this.phase === 'unknown') this.notice = '';
      this.#restart(epoch, offset, head);
    } else if (this.attached && head - window.hi > MAX_BEHIND) {
      this.notice = `${head - window.hi} events arrived in the meantime; showing the newest`;
      this.#tail();
      return;
    } else if (this.#resuming) this.notice = `reconnected, resumed at #${offset}`;
    this.#resuming = false;
    window.head = head;
  }

  #restart(epoch: number, offset: number, head: number): void {
    const paused = !this.attached;
    this.attached = true;
    this.live = false;
    this.window.restart(epoch, offset, head, this.window.epoch === epoch ? this.window.base : 0);
    this.fold = new Fold();
    this.phase = 'shown';
    if (head - offset > MAX_BEHIND) this.#tail();
    else if (paused) this.#subscribe();
  }

  #refused(code: string, message: string): void {
    const unknown = code === 'unknown_workcell';
    if (unknown) {
      this.live = false;
      this.notice =
        this.window.hi > this.window.lo ? 'this workcell was removed: what is shown is no longer stored' : '';
      this.phase = 'unknown';
      return;
    }
    if (this.phase !== 'shown') this.phase = 'refused';
    this.notice = message;
  }

  #check(verdict: Verdict): void {
    // Events that do not fit are never shown; they are requested again from the end of the window.
    if (verdict === 'hole' || verdict === 'foreign') this.#subscribe();
    if (verdict === 'added') this.#grown();
  }

  #grown(): void {
    if (this.window.full) {
      if (this.#sticky) this.window.trimStart();
      else this.#detach();
    }
    this.#refold();
  }

  /** Fold the appended slots, or all of them if the window starts elsewhere now. */
  #refold(): void {
    const { slots } = this.window;
    if (this.fold.owners.length > slots.length || this.fold.owners[0]?.offset !== slots[0]?.offset) {
      this.fold = new Fold();
    }
    for (let i = this.fold.owners.length; i < slots.length; i += 1) {
      const slot = slots[i];
      if (slot !== undefined) this.fold.push(slot);
    }
  }

  #subscribe(): void {
    this.#subscription ??= this.#connect();
    this.#subscription.subscribe();
  }

  // ── paging ──────────────────────────────────────────────────────────────────────────────────────────────────────
  #detach(): void {
    if (!this.attached) return;
    this.attached = false;
    this.live = false;
    this.#subscription?.pause();
  }

  /** Continue with live events: the window has reached the end of the log. */
  #attach(): void {
    this.attached = true;
    this.#subscribe();
  }

  /** Restart at the end of the log; gives up any load. */
  toEnd(): void {
    this.#giveUp();
    this.#tail();
  }

  #tail(): void {
    this.attached = true;
    this.live = false;
    this.phase = 'loading';
    this.#from = { last: TAIL };
    this.#subscribe();
    this.#changed();
  }

  /** Restart around an offset, or at the end of the log if that comes first; returns whether it was done. */
  async jump(offset: number): Promise<boolean> {
    return this.#load('around', async (signal) => {
      const start = Math.max(0, offset - PAGE_LIMIT / 4);
      const page = await this.#fetch(this.workcell, start, PAGE_LIMIT, signal);
      if (signal.aborted) return;
      this.notice = missing(offset, page);
      if (page.events.length === 0) return this.#tail();
      this.window.restart(page.epoch, page.offset, page.head, page.base);
      this.fold = new Fold();
      this.phase = 'shown';
      this.live = false;
      this.window.append(page.epoch, page.offset, page.events, page.size);
      this.#refold();
      if (this.window.hi >= this.window.head) this.#attach();
      else {
        this.attached = false;
        this.#subscribe();
      }
    });
  }

  get hasEarlier(): boolean {
    return this.phase === 'shown' && this.window.lo > this.window.base;
  }

  get hasLater(): boolean {
    return this.phase === 'shown' && !this.attached;
  }

  async loadEarlier(): Promise<void> {
    if (this.hasEarlier) await this.#load('earlier', (signal) => this.#earlier(signal));
  }

  async #earlier(signal: AbortSignal): Promise<void> {
    const { epoch, lo } = this.window;
    let at = Math.max(this.window.base, lo - PAGE_LIMIT);
    const events = [];
    let [first, size] = [at, 0];
    // A gateway may return fewer events than requested; the rest up to the window is fetched as well.
    while (at < lo) {
      const page = await this.#fetch(this.workcell, at, lo - at, signal);
      if (signal.aborted || page.epoch !== this.window.epoch || epoch !== page.epoch || lo !== this.window.lo)
        return;
      if (events.length === 0) {
        first = page.offset;
        this.window.base = page.base;
      } else if (page.offset !== at) return;
      if (page.events.length === 0) break;
      events.push(...page.events);
      size += page.size;
      at = page.offset + page.events.length;
    }
    if (this.window.prepend(epoch, first, events, size) !== 'added') return;
    if (this.window.trimEnd() > 0) this.#detach();
    this.#refold();
  }

  async loadLater(): Promise<void> {
    if (this.hasLater) await this.#load('later', (signal) => this.#later(signal));
  }

  async #later(signal: AbortSignal): Promise<void> {
    const { epoch, hi } = this.window;
    const page = await this.#fetch(this.workcell, hi, PAGE_LIMIT, signal);
    if (signal.aborted || page.epoch !== epoch || epoch !== this.window.epoch || hi !== this.window.hi)
      return;
    this.window.head = Math.max(this.window.head, page.head);
    if (page.offset > hi) this.window.appendGap(epoch, hi, page.offset, 'pruned');
    this.window.append(epoch, page.offset, page.events, page.size);
    this.window.trimStart();
    this.#refold();
    if (this.window.hi >= this.window.head) this.#attach();
  }

  /** Run one load: a page is skipped while another load runs, a jump replaces that one. Returns whether it was done. */
  async #load(
    what: 'earlier' | 'later' | 'around',
    work: (signal: AbortSignal) => Promise<void>,
  ): Promise<boolean> {
    if (this.loading !== null && what !== 'around') return false;
    this.#giveUp();
    const { signal } = this.#request;
    this.loading = what;
    this.#changed();
    let done = true;
    try {
      await work(signal);
    } catch (error) {
      if (signal.aborted) return false;
      done = false;
      this.notice = error instanceof Error ? error.message : String(error);
      if (this.phase === 'loading') this.#tail();
    }
    if (signal.aborted) return false;
    this.loading = null;
    this.#changed();
    return done;
  }

  #giveUp(): void {
    this.#request.abort();
    this.#request = new AbortController();
    if (this.loading === null) return;
    this.loading = null;
    this.#changed();
  }
}
