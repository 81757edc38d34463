import { describe, expect, test } from 'vitest';
import { MAX_BYTES, MAX_SLOTS, Window } from '../../src/core/window.ts';
import { numbered, range } from '../support/fakes.ts';

function windowOf(from: number, until: number): Window {
  const window = new Window();
  window.restart(1, from, until);
  window.append(1, from, range(from, until), 10 * (until - from));
  return window;
}

describe('a window', () => {
  test('skips events it has, and adds the rest', () => {
    const window = windowOf(0, 5);
    expect(window.append(1, 3, range(3, 8), 50)).toBe('added');
    expect(window.slots.map((slot) => slot.event)).toEqual(range(0, 8));
    expect(window.append(1, 2, range(2, 4), 20)).toBe('duplicate');
  });

  test('refuses a hole and another epoch without a change', () => {
    const window = windowOf(0, 5);
    expect(window.append(1, 6, [numbered(6)], 10)).toBe('hole');
    expect(window.append(2, 5, [numbered(5, 2)], 10)).toBe('foreign');
    expect(window.prepend(2, 0, [numbered(0, 2)], 10)).toBe('foreign');
    expect([window.lo, window.hi]).toEqual([0, 5]);
  });

  test('keeps a gap as one slot, and continues after it', () => {
    const window = windowOf(0, 2);
    expect(window.appendGap(1, 2, 10, 'pruned')).toBe('added');
    expect(window.append(1, 10, [numbered(10)], 10)).toBe('added');
    expect(window.slots.map((slot) => [slot.offset, slot.until])).toEqual([
      [0, 1],
      [1, 2],
      [2, 10],
      [10, 11],
    ]);
  });

  test('prepends earlier events only if they reach its start', () => {
    const window = windowOf(100, 105);
    expect(window.prepend(1, 90, range(90, 99), 90)).toBe('hole');
    expect(window.prepend(1, 90, range(90, 103), 90)).toBe('added');
    expect(window.slots.map((slot) => slot.event)).toEqual(range(90, 105));
  });

  test('is within its bounds once trimmed, at either end', () => {
    const window = windowOf(0, MAX_SLOTS + 1);
    window.trimStart();
    expect(window.slots.length).toBeLessThanOrEqual(MAX_SLOTS);
    expect(window.hi).toBe(MAX_SLOTS + 1);
    const large = windowOf(0, 10);
    large.append(1, 10, range(10, 12), 2 * MAX_BYTES);
    large.trimEnd();
    expect(large.bytes).toBeLessThanOrEqual(MAX_BYTES);
    expect(large.hi).toBe(10);
  });
});
