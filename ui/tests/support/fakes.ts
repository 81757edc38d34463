// A socket, a clock and a gateway's history that the test controls.
import type { Clock } from '../../src/core/clock.ts';
import { Connection, type Socket } from '../../src/core/connection.ts';
import type { WireEvent } from '../../src/core/event.ts';
import type { FetchPage } from '../../src/core/history.ts';

export class FakeSocket implements Socket {
  onopen: ((event: never) => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  readonly sent: Record<string, unknown>[] = [];
  closed = false;

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }
  close(): void {
    this.closed = true;
  }
  opens(): void {
    this.onopen?.(undefined as never);
  }
  receives(message: object): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }
  breaks(code = 1006): void {
    this.onclose?.({ code, reason: '' });
  }
  subscribes(): Record<string, unknown>[] {
    return this.sent.filter((message) => message.op === 'subscribe');
  }
}

export class FakeClock implements Clock {
  time = 0;
  luck = 0.5;
  readonly timers: { at: number; callback: () => void }[] = [];

  now(): number {
    return this.time;
  }
  random(): number {
    return this.luck;
  }
  after(ms: number, callback: () => void): () => void {
    const timer = { at: this.time + ms, callback };
    this.timers.push(timer);
    return () => {
      const index = this.timers.indexOf(timer);
      if (index >= 0) this.timers.splice(index, 1);
    };
  }
  pass(ms: number): void {
    this.time += ms;
    for (const timer of this.timers.filter((each) => each.at <= this.time)) {
      this.timers.splice(this.timers.indexOf(timer), 1);
      timer.callback();
    }
  }
}

export function connect(refusal?: () => Promise<string | null>) {
  const sockets: FakeSocket[] = [];
  const clock = new FakeClock();
  const open = () => {
    const socket = new FakeSocket();
    sockets.push(socket);
    return socket;
  };
  const connection = new Connection(refusal ? { open, clock, refusal } : { open, clock });
  const last = (): FakeSocket => {
    const socket = sockets.at(-1);
    if (socket === undefined) throw new Error('expected a socket to have been opened');
    return socket;
  };
  return { connection, clock, sockets, last };
}

/** An event that shows its epoch and offset. */
export function numbered(offset: number, epoch = 1): WireEvent {
  return { type: 'response_complete', content: `${epoch}/${offset}`, message_id: `m${offset}` };
}

export function range(from: number, until: number, epoch = 1): WireEvent[] {
  return Array.from({ length: Math.max(0, until - from) }, (_, i) => numbered(from + i, epoch));
}

/** The history of a log with `head` events; a page has at most `most` of them. */
export function historyOf(head: number, epoch = 1, base = 0, most = 500): FetchPage {
  return async (_, offset, limit) => {
    const from = Math.max(base, offset);
    const events = range(from, Math.min(head, from + Math.min(limit, most)), epoch);
    return { epoch, base, head, offset: from, events, size: 100 * events.length };
  };
}
