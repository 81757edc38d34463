// The page's WebSocket: reconnects, and resumes every subscription from that subscription's own cursor.
import type { ClientMessage, Fleet, ServerMessage } from '../contract.ts';
import { backoff } from './backoff.ts';
import type { Clock } from './clock.ts';
import { Liveness } from './liveness.ts';
import { type Subscriber, Subscription } from './subscription.ts';

export type ConnectionState = 'connecting' | 'open' | 'waiting' | 'closed';

/** The part of the browser's WebSocket that is used here. */
export interface Socket {
  onopen: ((event: never) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

export interface Status {
  readonly state: ConnectionState;
  /** How many times a socket has opened: more than once means that it was restored. */
  readonly opened: number;
  /** Why it is closed or waiting; may be empty. */
  readonly reason: string;
}

export interface Options {
  open: () => Socket;
  clock: Clock;
  /** Called after a failed first connect: why the gateway refuses this page, or null if it does not. */
  refusal?: () => Promise<string | null>;
}

const FINAL: ReadonlyMap<number, string> = new Map([
  [4400, 'the gateway could not read a message of this page; reload it'],
  [4401, 'the session has expired; sign in again'],
  [4429, 'this page sent too many requests; close other tabs and reload it'],
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
  readonly #liveness: Liveness;

  constructor(options: Options) {
    this.#options = options;
    this.#liveness = new Liveness(
      options.clock,
      () => this.#send({ op: 'ping' }),
      () => this.#abandon(1006, 'the gateway does not answer'),
    );
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

  /** Connect now instead of waiting, or probe an open socket: the network is back, or the page is visible again. */
  hurry(): void {
    if (this.#status.state === 'open') this.#liveness.probe();
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

  /** Subscribe to a workcell, one subscription each as on the wire; it resumes after every reconnect. */
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

  /** Listen to the fleet's messages; null announces new first pages. */
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

  /** Treat the socket as closed, without waiting for the other side. */
  #abandon(code: number, reason: string): void {
    this.#drop();
    void this.#closed(code, reason);
  }

  #connect(): void {
    this.#cancelTimer = null;
    this.#set('connecting');
    const socket = this.#options.open();
    this.#socket = socket;
    socket.onopen = () => {
      this.#attempt = 0;
      this.#set('open', '', this.#status.opened + 1);
      this.#liveness.start();
      if (this.#fleet.size > 0) this.#subscribeFleet();
      for (const subscription of this.#subscriptions.values()) subscription.subscribe();
    };
    socket.onmessage = (event) => {
      if (typeof event.data === 'string') this.#receive(event.data);
    };
    socket.onclose = (event) => void this.#closed(event.code, event.reason);
  }

  #drop(): void {
    this.#liveness.stop();
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  async #closed(code: number, reason: string): Promise<void> {
    this.#cancelTimer?.();
    this.#liveness.stop();
    this.#socket = null;
    for (const subscription of this.#subscriptions.values()) subscription.lost();
    const final = FINAL.get(code);
    if (final !== undefined) return this.#set('closed', final);
    const delay = backoff(this.#attempt++, this.#options.clock);
    this.#set('waiting', reason);
    this.#cancelTimer = this.#options.clock.after(delay, () => this.#connect());
    // The browser does not say whether the gateway refused the socket or could not be reached.
    if (this.#status.opened > 0 || !this.#options.refusal) return;
    const refusal = await this.#options.refusal();
    if (refusal !== null && this.#status.opened === 0) this.stop(refusal);
  }

  #receive(text: string): void {
    this.#liveness.heard();
    let message: ServerMessage;
    try {
      message = JSON.parse(text) as ServerMessage;
    } catch {
      // Events after an unreadable frame may not be contiguous: reconnect, and resume from the cursors.
      this.#abandon(1007, 'the gateway sent a message that is not JSON');
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
