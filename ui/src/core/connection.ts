// One WebSocket for the page: it reconnects, and resumes every subscription from that subscription's own cursor.
import type { ClientMessage, Fleet, ServerMessage } from '../contract.ts';
import { backoff } from './backoff.ts';
import type { Clock } from './clock.ts';
import { type Subscriber, Subscription } from './subscription.ts';

export type ConnectionState = 'connecting' | 'open' | 'waiting' | 'closed';

/** The part of a browser's WebSocket that is used here. */
export interface Socket {
  onopen: ((event: never) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

export interface Status {
  readonly state: ConnectionState;
  /** How often the socket has been open: more than once means it came back. */
  readonly opened: number;
  /** Why it is closed, or what it waits for. */
  readonly reason: string;
}

export interface Options {
  open: () => Socket;
  clock: Clock;
  /** After a failed first connect: why the gateway refuses this page, or null if it does not. */
  refusal?: () => Promise<string | null>;
}

const PROBE_MS = 5_000;
const FINAL: ReadonlyMap<number, string> = new Map([
  [4400, 'the gateway could not read a message of this page; reload it'],
  [4401, 'the session has expired; sign in again'],
  [4429, 'this page asked for too much; close other tabs and reload it'],
  [1009, 'a message was too large for the gateway'],
]);

export class Connection {
  #status: Status = { state: 'connecting', opened: 0, reason: '' };
  #socket: Socket | null = null;
  #attempt = 0;
  #cancelTimer: (() => void) | null = null;
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #fleet = new Set<(message: Fleet | null) => void>();
  readonly #listeners = new Set<(status: Status) => void>();
  readonly #options: Options;

  constructor(options: Options) {
    this.#options = options;
  }

  get status(): Status {
    return this.#status;
  }

  listen(listener: (status: Status) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  start(): void {
    if (this.#socket === null && this.#cancelTimer === null) this.#connect();
  }

  /** The network is back, or the page is looked at again: connect now, or see whether the socket still lives. */
  hurry(): void {
    if (this.#status.state === 'open') this.#probe();
    if (this.#status.state !== 'waiting') return;
    this.#attempt = 0;
    this.#cancelTimer?.();
    this.#connect();
  }

  stop(reason = ''): void {
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    this.#drop();
    this.#set('closed', reason);
  }

  /** One subscription for each workcell, as on the wire; it is resumed at every reconnection. */
  watch(workcell: string, subscriber: Subscriber): Subscription {
    const subscription = new Subscription(
      workcell,
      subscriber,
      (message) => this.#send(message),
      () => {
        if (this.#subscriptions.get(workcell) !== subscription) return;
        this.#subscriptions.delete(workcell);
        this.#send({ op: 'unsubscribe', workcell });
      },
    );
    this.#subscriptions.set(workcell, subscription);
    return subscription;
  }

  /** The fleet's messages; null when a new first page is about to come. */
  watchFleet(listener: (message: Fleet | null) => void): () => void {
    this.#fleet.add(listener);
    if (this.#status.state === 'open') this.#subscribeFleet();
    return () => {
      this.#fleet.delete(listener);
      if (this.#fleet.size === 0) this.#send({ op: 'unsubscribe', fleet: true });
    };
  }

  #subscribeFleet(): void {
    for (const listener of this.#fleet) listener(null);
    this.#send({ op: 'subscribe', fleet: true });
  }

  /** A socket that slept with the machine stays "open" for minutes: it must answer soon or is given up. */
  #probe(): void {
    if (this.#cancelTimer !== null) return;
    this.#send({ op: 'ping' });
    this.#cancelTimer = this.#options.clock.after(PROBE_MS, () => {
      this.#drop();
      void this.#closed(1006, 'no answer');
    });
  }

  #connect(): void {
    this.#cancelTimer = null;
    this.#set('connecting');
    const socket = this.#options.open();
    this.#socket = socket;
    socket.onopen = () => {
      this.#attempt = 0;
      this.#set('open', '', this.#status.opened + 1);
      if (this.#fleet.size > 0) this.#subscribeFleet();
      for (const subscription of this.#subscriptions.values()) subscription.subscribe();
    };
    socket.onmessage = (event) => {
      if (typeof event.data === 'string') this.#receive(event.data);
    };
    socket.onclose = (event) => void this.#closed(event.code, event.reason);
  }

  #drop(): void {
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  async #closed(code: number, reason: string): Promise<void> {
    this.#cancelTimer?.();
    this.#socket = null;
    for (const subscription of this.#subscriptions.values()) subscription.lost();
    const final = FINAL.get(code);
    if (final !== undefined) return this.#set('closed', final);
    const delay = backoff(this.#attempt++, this.#options.clock);
    this.#set('waiting', reason);
    this.#cancelTimer = this.#options.clock.after(delay, () => this.#connect());
    // A refusal before the socket opens looks like any other failure to a browser.
    if (this.#status.opened > 0 || !this.#options.refusal) return;
    const refusal = await this.#options.refusal();
    if (refusal !== null && this.#status.opened === 0) this.stop(refusal);
  }

  #receive(text: string): void {
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    let message: ServerMessage;
    try {
      message = JSON.parse(text) as ServerMessage;
    } catch {
      // Nothing after an unreadable frame can be trusted to be dense: begin again from the cursors.
      this.#drop();
      void this.#closed(1007, 'the gateway sent a message that is no JSON');
      return;
    }
    if (message.op === 'fleet') {
      for (const listener of this.#fleet) listener(message);
      for (const { id } of message.workcells) this.#subscriptions.get(String(id))?.shown();
    } else if ('workcell' in message && message.workcell !== null) {
      this.#subscriptions.get(message.workcell)?.receive(message, text.length);
    }
  }

  #send(message: ClientMessage): boolean {
    if (this.#status.state !== 'open' || this.#socket === null) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  #set(state: ConnectionState, reason = '', opened = this.#status.opened): void {
    this.#status = { state, reason, opened };
    for (const listener of this.#listeners) listener(this.#status);
  }
}
