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
    fleet.take(message([{ id: 'a', status: 'running', head: 3, errors: 1 }]));
    fleet.take(message([{ id: 'a', head: 4 }]));
    expect(fleet.workcells.get('a')).toMatchObject({ status: 'running', head: 4, errors: 1 });
  });

  test('is complete with the last of its first pages', () => {
    const fleet = new Fleet();
    fleet.take(message([{ id: 'a' }], true));
    expect(fleet.complete).toBe(false);
    fleet.take(message([{ id: 'b' }]));
    expect(fleet.complete).toBe(true);
  });

  test('forgets after a reconnect what the new first pages lack, but not before they are all here', () => {
    const fleet = new Fleet();
    fleet.take(message([{ id: 'a' }, { id: 'b' }, { id: 'c' }]));
    fleet.take(null);
    fleet.take(message([{ id: 'a' }], true));
    expect(fleet.workcells.size).toBe(3);
    fleet.take(message([{ id: 'c' }]));
    expect([...fleet.workcells.keys()]).toEqual(['a', 'c']);
  });

  test('removes what is removed', () => {
    const fleet = new Fleet();
    fleet.take(message([{ id: 'a' }]));
    fleet.take(message([], false, ['a']));
    expect(fleet.workcells.size).toBe(0);
  });

  test('is sorted by running first, then by last activity', () => {
    const fleet = new Fleet();
    fleet.take(
      message([
        { id: 'old', status: 'success', last: at('2026-01-01T00:00:00Z') },
        { id: 'new', status: 'failed', last: at('2026-01-02T00:00:00Z') },
        { id: 'run', status: 'running', last: at('2025-01-01T00:00:00Z') },
      ]),
    );
    expect(sorted(fleet.workcells.values()).map((w) => w.id)).toEqual(['run', 'new', 'old']);
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
