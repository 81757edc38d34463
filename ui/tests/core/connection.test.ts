import { describe, expect, test, vi } from 'vitest';
import type { From } from '../../src/core/wire.ts';
import { connect } from '../support/fakes.ts';

function subscriber(from: From = 'tail', following = true) {
  return { cursor: vi.fn(() => from), following: () => following, receive: vi.fn(), lost: vi.fn() };
}

describe('a connection', () => {
  test('resumes every subscription from its own cursor after a reconnect', () => {
    const { connection, clock, last } = connect();
    const one = subscriber({ last: 10 });
    const two = subscriber('start');
    connection.watch('one', one);
    connection.watch('two', two);
    connection.start();
    last().opens();
    one.cursor.mockReturnValue({ epoch: 7, offset: 42 });
    two.cursor.mockReturnValue({ epoch: 8, offset: 3 });
    last().breaks();
    expect(connection.status.state).toBe('waiting');
    clock.pass(10_000);
    last().opens();
    expect(last().sent).toEqual([
      { op: 'subscribe', workcell: 'one', from: { epoch: 7, offset: 42 } },
      { op: 'subscribe', workcell: 'two', from: { epoch: 8, offset: 3 } },
    ]);
    expect(one.lost).toHaveBeenCalledOnce();
  });

  test('waits longer after each failure, never less than 250 ms, never more than 10 s', () => {
    const { connection, clock, last } = connect();
    clock.luck = 0.999;
    connection.start();
    const waits: number[] = [];
    for (let i = 0; i < 8; i += 1) {
      last().breaks();
      waits.push((clock.timers[0]?.at ?? 0) - clock.time);
      clock.pass(10_000);
    }
    expect(waits[0]).toBeGreaterThanOrEqual(250);
    expect(waits.slice(1).every((wait, i) => wait >= (waits[i] ?? 0))).toBe(true);
    expect(Math.max(...waits)).toBeLessThanOrEqual(10_000);
  });

  test('connects at once when it is hurried while it waits', () => {
    const { connection, sockets, last } = connect();
    connection.start();
    last().breaks();
    connection.hurry();
    expect(sockets).toHaveLength(2);
    connection.hurry();
    expect(sockets).toHaveLength(2);
  });

  test.each([4400, 4401, 4429, 1009])('does not retry after close code %i, and says why', (code) => {
    const { connection, clock, sockets, last } = connect();
    connection.start();
    last().opens();
    last().breaks(code);
    clock.pass(60_000);
    expect(sockets).toHaveLength(1);
    expect(connection.status.state).toBe('closed');
    expect(connection.status.reason).not.toBe('');
  });

  test('retries after a restart of the gateway (1012)', () => {
    const { connection, clock, sockets, last } = connect();
    connection.start();
    last().opens();
    last().breaks(1012);
    clock.pass(10_000);
    expect(sockets).toHaveLength(2);
  });

  test('closes for good when its first connect failed because the gateway refuses the page', async () => {
    const { connection, clock, sockets, last } = connect(async () => 'no token');
    connection.start();
    last().breaks();
    await vi.waitFor(() => expect(connection.status).toMatchObject({ state: 'closed', reason: 'no token' }));
    clock.pass(60_000);
    expect(sockets).toHaveLength(1);
  });

  test('gives up a socket that does not answer after the page was asleep', () => {
    const { connection, clock, last } = connect();
    connection.start();
    last().opens();
    connection.hurry();
    expect(last().sent.at(-1)).toEqual({ op: 'ping' });
    clock.pass(5_000);
    expect(connection.status.state).toBe('waiting');
  });

  test('keeps a socket that answers in time', () => {
    const { connection, clock, last } = connect();
    connection.start();
    last().opens();
    connection.hurry();
    last().receives({ op: 'pong' });
    clock.pass(5_000);
    expect(connection.status.state).toBe('open');
  });

  test('begins again from the cursors when a frame is no JSON', () => {
    const { connection, clock, last } = connect();
    connection.watch('w', subscriber({ epoch: 1, offset: 5 }));
    connection.start();
    last().opens();
    last().onmessage?.({ data: '{"op":' });
    clock.pass(10_000);
    last().opens();
    expect(last().subscribes()).toHaveLength(1);
  });

  test('hands the fleet on, and says when its first pages come anew', () => {
    const { connection, last } = connect();
    const listener = vi.fn();
    connection.watchFleet(listener);
    connection.start();
    last().opens();
    const message = { op: 'fleet', workcells: [], removed: [], more: false };
    last().receives(message);
    expect(listener.mock.calls).toEqual([[null], [message]]);
  });
});

describe('a subscription', () => {
  const events = (offset: number) => ({ op: 'events', workcell: 'w', epoch: 1, offset, head: 9, events: [] });
  const subscribed = { op: 'subscribed', workcell: 'w', epoch: 1, offset: 0, head: 9 };

  test('drops what arrives before the answer to its last request', () => {
    const { connection, last } = connect();
    const one = subscriber();
    const subscription = connection.watch('w', one);
    connection.start();
    last().opens();
    last().receives(subscribed);
    subscription.subscribe();
    subscription.subscribe();
    last().receives(events(1));
    last().receives(subscribed);
    last().receives(events(2));
    last().receives({ ...subscribed, offset: 3 });
    last().receives(events(3));
    expect(one.receive.mock.calls.map(([message]) => [message.op, message.offset])).toEqual([
      ['subscribed', 0],
      ['subscribed', 3],
      ['events', 3],
    ]);
  });

  test('hands errors to its subscriber', () => {
    const { connection, last } = connect();
    const one = subscriber();
    connection.watch('w', one);
    connection.start();
    last().opens();
    last().receives({ op: 'error', code: 'origin_conflict', message: 'two origins', workcell: 'w' });
    expect(one.receive.mock.calls[0]?.[0]).toMatchObject({ code: 'origin_conflict' });
  });

  test('asks again for an unknown workcell when the fleet shows it, and only then', () => {
    const { connection, last } = connect();
    connection.watch('w', subscriber());
    connection.watchFleet(() => undefined);
    connection.start();
    last().opens();
    const asked = () =>
      last()
        .subscribes()
        .filter((message) => message.workcell === 'w').length;
    last().receives({ op: 'error', code: 'unknown_workcell', message: 'no', workcell: 'w' });
    last().receives({ op: 'fleet', workcells: [{ id: 'other' }], removed: [], more: false });
    expect(asked()).toBe(1);
    last().receives({ op: 'fleet', workcells: [{ id: 'w' }], removed: [], more: false });
    last().receives({ op: 'fleet', workcells: [{ id: 'w' }], removed: [], more: false });
    expect(asked()).toBe(2);
  });

  test('asks for word of the head only, if its subscriber does not follow', () => {
    const { connection, last } = connect();
    connection.watch('w', subscriber({ epoch: 1, offset: 2 }, false));
    connection.start();
    last().opens();
    expect(last().sent.at(-1)).toEqual({ op: 'follow', workcell: 'w', follow: false });
  });

  test('unsubscribes when it is closed', () => {
    const { connection, last } = connect();
    const subscription = connection.watch('w', subscriber());
    connection.start();
    last().opens();
    subscription.close();
    expect(last().sent.at(-1)).toEqual({ op: 'unsubscribe', workcell: 'w' });
  });
});
