import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Heights } from '../../src/core/heights.ts';
import { VirtualList } from '../../src/core/virtual.ts';

describe('heights', () => {
  test('equal plain sums after any changes', () => {
    const change = fc.tuple(fc.nat(), fc.integer({ min: 1, max: 500 }));
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 500 }), { minLength: 1 }),
        fc.array(change),
        fc.nat(),
        (start, changes, y) => {
          const plain = [...start];
          const heights = new Heights([...start]);
          for (const [at, value] of changes) {
            plain[at % plain.length] = value;
            heights.set(at % plain.length, value);
          }
          const tops = plain.map((_, i) => plain.slice(0, i).reduce((a, b) => a + b, 0));
          expect(tops.map((_, i) => heights.top(i))).toEqual(tops);
          const height = y % (heights.total + 10);
          expect(heights.find(height)).toBe(tops.findLastIndex((top) => top <= height));
        },
      ),
    );
  });
});

const keys = (from: number, until: number) => Array.from({ length: until - from }, (_, i) => from + i);
const VIEW = 500;

function listOf(from: number, until: number): VirtualList {
  const list = new VirtualList(40, 10);
  list.setKeys(keys(from, until));
  return list;
}

/** The distance of a row from the top of the view. */
const seen = (list: VirtualList, key: number) => list.top(list.indexOf(key)) - list.scrollTop(VIEW);

describe('a virtual list', () => {
  test('sticks to the end while it follows', () => {
    const list = listOf(0, 100);
    list.setKeys(keys(0, 150));
    list.measure(149, 300);
    expect(list.scrollTop(VIEW)).toBe(list.total - VIEW);
  });

  test('does not move by a pixel while rows arrive, are prepended, or are measured', () => {
    const event = fc.oneof(
      fc.record({ what: fc.constant('append'), n: fc.nat(50) }),
      fc.record({ what: fc.constant('prepend'), n: fc.nat(50) }),
      fc.record({ what: fc.constant('measure'), n: fc.nat(400) }),
    );
    fc.assert(
      fc.property(fc.array(event), fc.integer({ min: 100, max: 2_500 }), (events, scrollTop) => {
        let [lo, hi] = [1_000, 1_100];
        const list = listOf(lo, hi);
        list.following = false;
        list.scrolled(scrollTop);
        const anchor = lo + list.slice(scrollTop, VIEW, 0).from + 1;
        const before = seen(list, anchor);
        for (const { what, n } of events) {
          if (what === 'append') hi += n;
          if (what === 'prepend') lo -= n;
          list.setKeys(keys(lo, hi));
          // Only rows above the view: resizing a row in view moves the rows below it.
          if (what === 'measure') list.measure(Math.max(lo, anchor - 2 - n), 20 + n);
        }
        expect(seen(list, anchor)).toBe(before);
      }),
    );
  });

  test('draws only the rows around the view', () => {
    const list = listOf(0, 5_000);
    const { from, to } = list.slice(list.scrollTop(VIEW), VIEW, 200);
    expect(to).toBe(5_000);
    expect(to - from).toBeLessThan(25);
  });

  test('places a row', () => {
    const list = listOf(0, 1_000);
    list.place(500, 96);
    expect(list.following).toBe(false);
    expect(seen(list, 500)).toBe(96);
  });

  test('shows a neighbour when the anchored row is removed', () => {
    const list = listOf(0, 1_000);
    list.place(500, 0);
    list.setKeys(keys(600, 1_000));
    expect(seen(list, 600)).toBe(0);
  });
});
