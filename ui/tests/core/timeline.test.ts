import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { type FetchPage, PAGE_LIMIT } from '../../src/core/history.ts';
import { Timeline } from '../../src/core/timeline.ts';
import { connect, historyOf, range } from '../support/fakes.ts';

function open(history = historyOf(1_000), around: number | null = null) {
  const fake = connect();
  fake.connection.start();
  fake.last().opens();
  const timeline = new Timeline('w', fake.connection, history, () => undefined);
  void timeline.show(around);
  const receives = (op: string, fields: object) => fake.last().receives({ op, workcell: 'w', ...fields });
  const events = (from: number, until: number, epoch = 1, head = until) =>
    receives('events', { epoch, offset: from, head, events: range(from, until, epoch) });
  return { ...fake, timeline, receives, events };
}

/** A history whose pages arrive only when the test calls `answer` with an offset in them. */
function heldHistory(head: number) {
  const waiting: { offset: number; signal: AbortSignal; release: () => void }[] = [];
  const fetch: FetchPage = async (workcell, offset, limit, signal) => {
    await new Promise<void>((release) => waiting.push({ offset, signal, release }));
    return historyOf(head)(workcell, offset, limit, signal);
  };
  const answer = (offset: number) => {
    const at = waiting.findIndex((each) => each.offset <= offset && offset < each.offset + PAGE_LIMIT);
    const [found] = waiting.splice(at, 1);
    if (at < 0 || found === undefined) throw new Error(`expected a request for the page of ${offset}`);
    found.release();
  };
  return { fetch, answer, waiting };
}

/** The items are exactly the events [lo, hi) of the window's epoch. */
function expectDense(timeline: Timeline): void {
  const { epoch, lo, hi, slots } = timeline.window;
  expect(slots.map((slot) => slot.event?.content)).toEqual(
    range(lo, hi, epoch).map((event) => event.content),
  );
  expect(timeline.items.map((item) => item.offset)).toEqual(slots.map((slot) => slot.offset));
}

describe('a timeline', () => {
  test('starts with the last events and follows the log', () => {
    const { timeline, last, receives, events } = open();
    expect(last().subscribes()[0]).toMatchObject({ from: { last: 300 } });
    receives('subscribed', { epoch: 1, offset: 700, head: 1_000 });
    events(700, 1_000);
    receives('live', { epoch: 1, offset: 1_000 });
    events(1_000, 1_003);
    expect(timeline.live).toBe(true);
    expect([timeline.window.lo, timeline.window.hi]).toEqual([700, 1_003]);
    expectDense(timeline);
  });

  test('subscribes again from its end at a hole, and shows nothing beyond it', () => {
    const { timeline, last, receives, events } = open();
    receives('subscribed', { epoch: 1, offset: 0, head: 9 });
    events(0, 3);
    events(5, 9);
    expect(last().subscribes().at(-1)).toMatchObject({ from: { epoch: 1, offset: 3 } });
    expect(timeline.window.hi).toBe(3);
    receives('subscribed', { epoch: 1, offset: 3, head: 9 });
    events(3, 9);
    expectDense(timeline);
  });

  test('drops everything on a reset', () => {
    const { timeline, receives, events } = open();
    receives('subscribed', { epoch: 1, offset: 0, head: 5 });
    events(0, 5);
    receives('reset', { epoch: 2, offset: 0, head: 2 });
    expect(timeline.items).toHaveLength(0);
    events(0, 2, 2);
    expectDense(timeline);
  });

  test('says where it resumed after a reconnect', () => {
    const { timeline, clock, last, receives, events } = open();
    receives('subscribed', { epoch: 1, offset: 0, head: 5 });
    events(0, 5);
    last().breaks();
    expect(timeline.live).toBe(false);
    clock.pass(10_000);
    last().opens();
    expect(last().subscribes()[0]).toMatchObject({ from: { epoch: 1, offset: 5 } });
    receives('subscribed', { epoch: 1, offset: 5, head: 5 });
    expect(timeline.notice).toBe('reconnected, resumed at #5');
    expectDense(timeline);
  });

  test('loads earlier events up to the base, also in shorter pages than requested', async () => {
    const { timeline, receives, events } = open(historyOf(1_000, 1, 100, 37));
    receives('subscribed', { epoch: 1, offset: 700, head: 1_000 });
    events(700, 1_000);
    while (timeline.hasEarlier) await timeline.loadEarlier();
    expect([timeline.window.lo, timeline.window.base]).toEqual([100, 100]);
    expectDense(timeline);
  });

  test('ignores a page of another epoch', async () => {
    const { timeline, receives, events } = open(historyOf(1_000, 2));
    receives('subscribed', { epoch: 1, offset: 700, head: 1_000 });
    events(700, 1_000);
    await timeline.loadEarlier();
    expect(timeline.window.lo).toBe(700);
  });

  test('opens around an offset, pages down to the end, and is live again', async () => {
    const { timeline, last, receives } = open(historyOf(1_500), 300);
    await vi.waitFor(() => expect(timeline.itemAt(300)).not.toBeNull());
    expect(last().sent.at(-1)).toMatchObject({ op: 'follow', follow: false });
    receives('subscribed', { epoch: 1, offset: timeline.window.hi, head: 1_500 });
    while (timeline.hasLater) await timeline.loadLater();
    expect(last().subscribes().at(-1)).toMatchObject({ from: { epoch: 1, offset: 1_500 } });
    receives('subscribed', { epoch: 1, offset: 1_500, head: 1_500 });
    receives('live', { epoch: 1, offset: 1_500 });
    expect(timeline.live).toBe(true);
    expectDense(timeline);
  });

  test('is not live while it shows another part of the log', async () => {
    const { timeline, receives, events } = open(historyOf(5_000));
    receives('subscribed', { epoch: 1, offset: 4_900, head: 5_000 });
    events(4_900, 5_000);
    receives('live', { epoch: 1, offset: 5_000 });
    await timeline.jump(100);
    expect([timeline.live, timeline.hasLater]).toEqual([false, true]);
    expectDense(timeline);
  });

  test('keeps its window when a jump fails, says why, and reports it as not done', async () => {
    const fails: FetchPage = () => Promise.reject(new Error('the gateway answered 503'));
    const { timeline, receives, events } = open(fails);
    receives('subscribed', { epoch: 1, offset: 900, head: 1_000 });
    events(900, 1_000);
    expect(await timeline.jump(10)).toBe(false);
    expect(timeline.notice).toBe('the gateway answered 503');
    expect(timeline.loading).toBeNull();
    expect([timeline.window.lo, timeline.window.hi]).toEqual([900, 1_000]);
  });

  describe('given a newer request', () => {
    test.each([
      ['in order', [1_000, 7_000]],
      ['in reverse order', [7_000, 1_000]],
    ])('shows the window of the last one when the answers arrive %s', async (_, answers) => {
      const { fetch, answer } = heldHistory(9_000);
      const { timeline } = open(fetch);
      const jumps = [timeline.jump(1_000), timeline.jump(7_000)];
      for (const offset of answers) answer(offset);
      expect(await Promise.all(jumps)).toEqual([false, true]);
      expect(timeline.itemAt(1_000)).toBeNull();
      expect(timeline.itemAt(7_000)).not.toBeNull();
      expect(timeline.loading).toBeNull();
      expectDense(timeline);
    });

    test('drops the late error of the one before', async () => {
      const { timeline } = open((workcell, offset, limit, signal) =>
        offset < 2_000
          ? Promise.reject(new Error('the gateway answered 503'))
          : historyOf(9_000)(workcell, offset, limit, signal),
      );
      await Promise.all([timeline.jump(1_000), timeline.jump(7_000)]);
      expect(timeline.notice).toBe('');
    });

    test.each<[string, (timeline: Timeline) => unknown]>([
      ['the end', (timeline) => timeline.toEnd()],
      ['an offset that is in the window already', (timeline) => timeline.show(8_950)],
      ['an address without an offset', (timeline) => timeline.show(null)],
    ])('for %s, drops the answer to a jump', async (_, request) => {
      const { fetch, answer, waiting } = heldHistory(9_000);
      const { timeline, receives, events } = open(fetch);
      receives('subscribed', { epoch: 1, offset: 8_900, head: 9_000 });
      events(8_900, 9_000);
      const jump = timeline.jump(1_000);
      const [sent] = waiting;
      request(timeline);
      expect(sent?.signal.aborted).toBe(true);
      expect(timeline.loading).toBeNull();
      answer(1_000);
      expect(await jump).toBe(false);
      expect(timeline.itemAt(1_000)).toBeNull();
      expect(timeline.itemAt(8_950)).not.toBeNull();
    });

    test('drops a page of earlier events', async () => {
      const { fetch, answer } = heldHistory(9_000);
      const { timeline, receives, events } = open(fetch);
      receives('subscribed', { epoch: 1, offset: 8_900, head: 9_000 });
      events(8_900, 9_000);
      const loads = [timeline.loadEarlier(), timeline.jump(1_000)];
      answer(1_000);
      answer(8_899);
      await Promise.all(loads);
      expect(timeline.window.lo).toBeLessThan(1_000);
      expectDense(timeline);
    });
  });

  test('does nothing until it is shown, and nothing more once it is closed', async () => {
    const { connection, last } = connect();
    connection.start();
    last().opens();
    const { fetch, answer, waiting } = heldHistory(9_000);
    const timeline = new Timeline('w', connection, fetch, () => undefined);
    expect([last().sent, waiting]).toEqual([[], []]);
    const shown = timeline.show(5_000);
    timeline.close();
    answer(5_000);
    expect(await shown).toBe(false);
    expect(timeline.items).toHaveLength(0);
    expect(last().subscribes()).toHaveLength(0);
  });

  test('stops growing when full while the view does not follow, but tracks the head', () => {
    const { timeline, last, receives, events } = open();
    receives('subscribed', { epoch: 1, offset: 0, head: 0 });
    timeline.stick(false);
    for (let at = 0; at < 6_000; at += 500) events(at, at + 500);
    expect(last().sent.at(-1)).toMatchObject({ op: 'follow', follow: false });
    expect(timeline.window.lo).toBe(0);
    receives('head', { epoch: 1, head: 8_000 });
    expect(timeline.window.head).toBe(8_000);
    expect(timeline.window.hi).toBeLessThan(6_000);
    expectDense(timeline);
  });

  test('drops the oldest events when full while the view follows', () => {
    const { timeline, receives, events } = open();
    receives('subscribed', { epoch: 1, offset: 0, head: 0 });
    for (let at = 0; at < 20_000; at += 500) events(at, at + 500);
    expect(timeline.window.hi).toBe(20_000);
    expect(timeline.window.slots.length).toBeLessThanOrEqual(5_000);
    expectDense(timeline);
  });

  test('reports an unknown workcell', () => {
    const { timeline, receives } = open();
    receives('error', { code: 'unknown_workcell', message: 'no such workcell' });
    expect(timeline.phase).toBe('unknown');
  });

  test('keeps what it shows of a workcell that is removed, says so, and starts again when it is back', () => {
    const { timeline, receives, events } = open();
    receives('subscribed', { epoch: 1, offset: 0, head: 3 });
    events(0, 3);
    receives('live', { epoch: 1, offset: 3 });
    receives('error', { code: 'unknown_workcell', message: 'w was removed' });
    expect([timeline.phase, timeline.live, timeline.items.length]).toEqual(['unknown', false, 3]);
    expect(timeline.notice).toContain('removed');
    expect(timeline.hasEarlier || timeline.hasLater).toBe(false);
    expect(timeline.cursor()).toEqual({ last: 300 });
    receives('subscribed', { epoch: 2, offset: 0, head: 2 });
    events(0, 2, 2);
    expect([timeline.phase, timeline.window.epoch, timeline.items.length]).toEqual(['shown', 2, 2]);
    expect(timeline.notice).toBe('');
    expectDense(timeline);
  });

  test('has no hole, whatever arrives', () => {
    const message = fc.record({
      op: fc.constantFrom('subscribed', 'reset', 'events', 'events', 'events', 'live', 'head', 'break'),
      epoch: fc.constantFrom(1, 1, 1, 2),
      offset: fc.nat(30),
      length: fc.nat(12),
    });
    fc.assert(
      fc.property(fc.array(message, { maxLength: 60 }), (messages) => {
        const { timeline, clock, last, receives, events } = open();
        for (const { op, epoch, offset, length } of messages) {
          if (op === 'events') events(offset, offset + length, epoch);
          else if (op === 'break') {
            last().breaks();
            clock.pass(10_000);
            last().opens();
          } else receives(op, { epoch, offset, head: offset + length });
          expectDense(timeline);
        }
      }),
    );
  });

  test.each([
    [1_500, 'there is no event #1500: the log ends at #999'],
    [1_000, 'there is no event #1000: the log ends at #999'],
    [999, ''],
  ])('opened at #%i of 1,000 events shows the notice "%s"', async (offset, notice) => {
    const { timeline, last } = open(historyOf(1_000), offset);
    await vi.waitFor(() => expect(last().subscribes()).toHaveLength(1));
    expect(timeline.notice).toBe(notice);
    expect(timeline.attached).toBe(true);
  });
});
