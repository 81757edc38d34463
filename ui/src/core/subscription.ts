// One workcell's subscription on the socket: tracks outstanding answers, and subscribes again when necessary.
import type {
  ErrorMessage,
  Events,
  Follow,
  From,
  Gap,
  Head,
  Live,
  Reset,
  Subscribe,
  Subscribed,
} from './wire.ts';

export type WorkcellMessage = Subscribed | Reset | Events | Gap | Head | Live | ErrorMessage;

/** Send a message; returns false without an open socket, since the next one resumes from the cursor anyway. */
export type Send = (message: Subscribe | Follow) => boolean;

export interface Subscriber {
  /** The position to continue from; read at every (re)connect. */
  cursor(): From;
  /** Whether to receive new events, or only the head. */
  following(): boolean;
  /** `size` is the length of the message in characters. */
  receive(message: WorkcellMessage, size: number): void;
  /** The socket was lost; the subscription will be resumed. */
  lost(): void;
}

export class Subscription {
  readonly #workcell: string;
  readonly #subscriber: Subscriber;
  readonly #send: Send;
  readonly #close: () => void;
  #due = 0;
  #unknown = false;

  constructor(workcell: string, subscriber: Subscriber, send: Send, close: () => void) {
    this.#workcell = workcell;
    this.#subscriber = subscriber;
    this.#send = send;
    this.#close = close;
  }

  /** Subscribe from the subscriber's cursor on; replaces the previous subscription. */
  subscribe(): void {
    if (!this.#send({ op: 'subscribe', workcell: this.#workcell, from: this.#subscriber.cursor() })) return;
    this.#due += 1;
    this.#unknown = false;
    if (!this.#subscriber.following()) this.pause();
  }

  /** Receive the head instead of events. */
  pause(): void {
    this.#send({ op: 'follow', workcell: this.#workcell, follow: false });
  }

  receive(message: WorkcellMessage, size: number): void {
    const answer = message.op === 'subscribed' || message.op === 'reset' || message.op === 'error';
    if (answer) this.#due = Math.max(0, this.#due - 1);
    // Until the last answer arrives, messages belong to a subscription that was replaced.
    if (this.#due > 0 && message.op !== 'error') return;
    if (message.op === 'error' && message.code === 'unknown_workcell') this.#unknown = true;
    this.#subscriber.receive(message, size);
  }

  /** The fleet shows this workcell: subscribe again if the gateway did not know it before. */
  shown(): void {
    if (this.#unknown) this.subscribe();
  }

  lost(): void {
    this.#due = 0;
    this.#subscriber.lost();
  }

  close(): void {
    this.#close();
  }
}
