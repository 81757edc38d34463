// One workcell's subscription on the socket: knows which answers are still due, and when to ask again.
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

/** Whether the message went out: without a socket it does not, and the next one resumes from the cursor anyway. */
export type Send = (message: Subscribe | Follow) => boolean;

export interface Subscriber {
  /** Where to go on from: asked at every (re)connection. */
  cursor(): From;
  /** Whether new events are wanted, or only word of the head. */
  following(): boolean;
  /** `size` is the message's length as text. */
  receive(message: WorkcellMessage, size: number): void;
  /** The socket is gone; it will be resumed. */
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

  /** Ask for everything from the subscriber's cursor on; replaces what was asked before. */
  subscribe(): void {
    if (!this.#send({ op: 'subscribe', workcell: this.#workcell, from: this.#subscriber.cursor() })) return;
    this.#due += 1;
    this.#unknown = false;
    if (!this.#subscriber.following()) this.pause();
  }

  /** Ask for word of the head instead of events. */
  pause(): void {
    this.#send({ op: 'follow', workcell: this.#workcell, follow: false });
  }

  receive(message: WorkcellMessage, size: number): void {
    const answer = message.op === 'subscribed' || message.op === 'reset' || message.op === 'error';
    if (answer) this.#due = Math.max(0, this.#due - 1);
    // What arrives before the last answer belongs to a subscription that has been replaced.
    if (this.#due > 0 && message.op !== 'error') return;
    if (message.op === 'error' && message.code === 'unknown_workcell') this.#unknown = true;
    this.#subscriber.receive(message, size);
  }

  /** The fleet shows this workcell: if the gateway did not know it before, it does now. */
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
