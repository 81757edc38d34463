import { describe, expect, test } from 'vitest';
import type { Fleet as Message, Summary } from '../../src/contract.ts';
import { Fleet, matches, sorted } from '../../src/core/fleet.ts';

const message = (workcells: object[], more = false, removed: string[] = []): Message => ({
  op: 'fleet',
  workcells: workcells as Message['workcells'],
  removed,
  more,
});
const at = (timestamp: string) => ({ offset: 0, type: 'started', timestamp });

describe('the fleet', () => {
  test('merges the fields that change', () => {
    const fleet = new Fleet();
    fleet.apply(message([{ id: 'a', status: 'running', head: 3, errors: 1 }]));
    fleet.apply(message([{ id: 'a', head: 4 }]));
    expect(fleet.workcells.get('a')).toMatchObject({ status: 'running', head: 4, errors: 1 });
  });

  test('is complete after the last of its first pages', () => {
    const fleet = new Fleet();
    fleet.apply(message([{ id: 'a' }], true));
    expect(fleet.complete).toBe(false);
    fleet.apply(message([{ id: 'b' }]));
    expect(fleet.complete).toBe(true);
  });

  test('drops workcells that are missing after a reconnect, once all first pages have arrived', () => {
    const fleet = new Fleet();
    fleet.apply(message([{ id: 'a' }, { id: 'b' }, { id: 'c' }]));
    fleet.apply(null);
    fleet.apply(message([{ id: 'a' }], true));
    expect(fleet.workcells.size).toBe(3);
    fleet.apply(message([{ id: 'c' }]));
    expect([...fleet.workcells.keys()]).toEqual(['a', 'c']);
  });

  test('remembers every status that a workcell has had', () => {
    const fleet = new Fleet();
    fleet.apply(message([{ id: 'a', status: 'running' }, { id: 'b' }]));
    fleet.apply(message([{ id: 'a', status: 'success' }], false, ['b']));
    expect([...fleet.statuses]).toEqual(['running', 'new', 'success']);
  });

  test('drops workcells that were removed', () => {
    const fleet = new Fleet();
    fleet.apply(message([{ id: 'a' }]));
    fleet.apply(message([], false, ['a']));
    expect(fleet.workcells.size).toBe(0);
  });

  describe('is sorted', () => {
    const order = (fleet: Fleet) => sorted(fleet.workcells.values()).map((w) => w.id);

    test('by running workcells, newest first, then ended ones, latest first, then new ones', () => {
      const fleet = new Fleet();
      fleet.apply(
        message([
          { id: 'empty', status: 'new' },
          {
            id: 'old',
            status: 'success',
            first: at('2026-01-01T00:00:00Z'),
            last: at('2026-01-01T09:00:00Z'),
          },
          {
            id: 'late',
            status: 'failed',
            first: at('2025-01-01T00:00:00Z'),
            last: at('2026-01-02T00:00:00Z'),
          },
          { id: 'run', status: 'running', first: at('2024-01-01T00:00:00Z') },
          // With another offset format: compared as times, not as texts.
          { id: 'newer', status: 'running', first: at('2024-01-01T00:30:00+00:00') },
        ]),
      );
      expect(order(fleet)).toEqual(['newer', 'run', 'late', 'old', 'empty']);
    });

    test('so that a row moves when a run ends, and at no other event', () => {
      const fleet = new Fleet();
      fleet.apply(
        message([
          { id: 'a', status: 'running', first: at('2026-01-01T00:00:00Z'), last: at('2026-01-01T00:00:00Z') },
          { id: 'b', status: 'running', first: at('2026-01-01T00:00:01Z'), last: at('2026-01-01T00:00:01Z') },
          { id: 'c', status: 'running', first: at('2026-01-01T00:00:01Z'), last: at('2026-01-01T00:00:01Z') },
        ]),
      );
      const before = order(fleet);
      expect(before).toEqual(['b', 'c', 'a']);
      for (const [i, id] of ['a', 'c', 'b', 'a'].entries()) {
        fleet.apply(message([{ id, last: at(`2026-01-01T00:01:0${i}Z`) }]));
        expect(order(fleet)).toEqual(before);
      }
      fleet.apply(message([{ id: 'b', status: 'success' }]));
      expect(order(fleet)).toEqual(['c', 'a', 'b']);
    });
  });

  test('is filtered by words in any order and by status', () => {
    const workcell = {
      id: 'fix-7',
      issue_id: 'SHOP-1',
      agent: 'codex',
      model: null,
      activity: '',
      status: 'lost',
    };
    const fits = (filter: string, status = '') => matches(workcell as Summary, filter, status);
    expect([fits(''), fits('CODEX fix'), fits('shop claude'), fits('', 'lost'), fits('', 'new')]).toEqual([
      true,
      true,
      false,
      true,
      false,
    ]);
  });
});
