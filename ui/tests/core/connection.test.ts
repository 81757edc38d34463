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

  test('waits longer after each failure, between 250 ms and 10 s', () => {
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

  test('connects at once when hurried while waiting', () => {
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

  test('does not retry after a first connect that the gateway refused', async () => {
    const { connection, clock, sockets, last } = connect(async () => 'no token');
    connection.start();
    last().breaks();
    await vi.waitFor(() => expect(connection.status).toMatchObject({ state: 'closed', reason: 'no token' }));
    clock.pass(60_000);
    expect(sockets).toHaveLength(1);
  });

  test('resumes from the cursors when a frame is not JSON', () => {
    const { connection, clock, last } = connect();
    connection.watch('w', subscriber({ epoch: 1, offset: 5 }));
    connection.start();
    last().opens();
    last().onmessage?.({ data: '{"op":' });
    clock.pass(10_000);
    last().opens();
    expect(last().subscribes()).toHaveLength(1);
  });

  test('passes the fleet on, and announces new first pages', () => {
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

describe('an open socket', () => {
  function opened() {
    const fake = connect();
    fake.connection.start();
    fake.last().opens();
    const socket = fake.last();
    const pings = () => socket.sent.filter((message) => message.op === 'ping').length;
    const state = () => fake.connection.status.state;
    /** Let time pass in steps so small that every timer is on time. */
    const live = (ms: number) => {
      for (let passed = 0; passed < ms; passed += 100) fake.clock.pass(100);
    };
    return { ...fake, socket, pings, state, live };
  }

  test('that is half-open is reported within 20 s of its last message, and replaced', () => {
    const { sockets, socket, state, live, connection } = opened();
    live(7_000);
    socket.receives({ op: 'fleet', workcells: [], removed: [], more: false });
    live(20_000);
    expect(socket.closed).toBe(true);
    expect(state()).not.toBe('open');
    expect(sockets.length).toBeGreaterThan(1);
    expect(connection.status.opened).toBe(1);
  });

  test('that is half-open says why while it waits to reconnect', () => {
    const { connection, clock } = opened();
    clock.pass(10_000);
    clock.pass(5_000);
    expect(connection.status).toMatchObject({ state: 'waiting', reason: 'the gateway does not answer' });
  });

  test('that answers is probed in silence only, and kept', () => {
    const { socket, sockets, pings, state, live } = opened();
    for (let i = 0; i < 20; i += 1) {
      live(9_000);
      socket.receives({ op: 'fleet', workcells: [], removed: [], more: false });
    }
    expect(pings()).toBe(0);
    let answered = 0;
    for (let i = 0; i < 600; i += 1) {
      live(1_000);
      while (answered < pings()) {
        answered += 1;
        socket.receives({ op: 'pong' });
      }
    }
    expect(answered).toBeGreaterThan(50);
    expect([state(), sockets.length]).toEqual(['open', 1]);
  });

  test.each([60_000, 8 * 3_600_000])('is not judged by a probe that slept %i ms with the page', (slept) => {
    const { socket, clock, pings, state, live } = opened();
    live(10_000);
    expect(pings()).toBe(1);
    // On waking up, the timer fires before the answer is delivered.
    clock.pass(slept);
    expect([state(), pings()]).toEqual(['open', 2]);
    socket.receives({ op: 'pong' });
    live(9_000);
    expect(state()).toBe('open');
  });

  test('whose timers are throttled to one a minute is kept while it answers', () => {
    const { socket, clock, state, pings } = opened();
    for (let minute = 0; minute < 30; minute += 1) {
      const before = pings();
      clock.pass(60_000);
      if (pings() > before) socket.receives({ op: 'pong' });
      expect(state()).toBe('open');
    }
    expect(pings()).toBeGreaterThan(5);
  });

  test('that died while the page slept is reported after waking up', () => {
    const { clock, state, live, connection } = opened();
    live(10_000);
    clock.pass(3_600_000);
    connection.hurry();
    live(5_000);
    expect(state()).toBe('waiting');
  });

  test('is probed at once when the page becomes visible', () => {
    const { connection, pings, state, live } = opened();
    connection.hurry();
    connection.hurry();
    expect(pings()).toBe(1);
    live(5_000);
    expect(state()).toBe('waiting');
  });

  test('is judged by its silence also after the system clock was set back', () => {
    const { clock, state, live } = opened();
    clock.time -= 3_600_000;
    for (const timer of clock.timers) timer.at -= 3_600_000;
    live(20_000);
    expect(state()).not.toBe('open');
  });

  test('that was closed leaves no timer behind', () => {
    const { connection, clock } = opened();
    connection.hurry();
    connection.stop();
    expect(clock.timers).toEqual([]);
  });
});

describe('a subscription', () => {
  const events = (offset: number) => ({ op: 'events', workcell: 'w', epoch: 1, offset, head: 9, events: [] });
  const subscribed = { op: 'subscribed', workcell: 'w', epoch: 1, offset: 0, head: 9 };

  test('drops messages that arrive before the answer to its last request', () => {
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

  test('passes errors to its subscriber', () => {
    const { connection, last } = connect();
    const one = subscriber();
    connection.watch('w', one);
    connection.start();
    last().opens();
    last().receives({ op: 'error', code: 'origin_conflict', message: 'two origins', workcell: 'w' });
    expect(one.receive.mock.calls[0]?.[0]).toMatchObject({ code: 'origin_conflict' });
  });

  test('subscribes to an unknown workcell again only when the fleet shows it', () => {
    const { connection, last } = connect();
    connection.watch('w', subscriber());
    connection.watchFleet(() => undefined);
    connection.start();
    last().opens();
    const subscribes = () =>
      last()
        .subscribes()
        .filter((message) => message.workcell === 'w').length;
    last().receives({ op: 'error', code: 'unknown_workcell', message: 'no', workcell: 'w' });
    last().receives({ op: 'fleet', workcells: [{ id: 'other' }], removed: [], more: false });
    expect(subscribes()).toBe(1);
    last().receives({ op: 'fleet', workcells: [{ id: 'w' }], removed: [], more: false });
    last().receives({ op: 'fleet', workcells: [{ id: 'w' }], removed: [], more: false });
    expect(subscribes()).toBe(2);
  });

  test('requests only the head if its subscriber does not follow', () => {
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
