// Drawing changes no state: whatever the components read, they write no signal, and a second drawing is the same.
import { type Signal, signal } from '@preact/signals';
import { type FunctionComponent, h } from 'preact';
import { useState } from 'preact/hooks';
import { renderToString } from 'preact-render-to-string';
import { describe, expect, test, vi } from 'vitest';
import { App } from '../src/app.tsx';
import { route } from '../src/common/address.ts';
import { fleetComplete, now, statusesSeen, workcells } from '../src/common/state.ts';
import { Fleet } from '../src/core/fleet.ts';
import { help } from '../src/fleet/keys.ts';
import { ItemRow } from '../src/item/item-row.tsx';
import { TimelineView } from '../src/workcell/timeline-view.tsx';
import { View } from '../src/workcell/view.ts';

/** The stack of each write to a signal during a drawing; null outside of one. */
const drawing = vi.hoisted((): { writes: string[] | null } => ({ writes: null }));

vi.mock('@preact/signals', async (original) => {
  const actual = await original<typeof import('@preact/signals')>();
  const watched = <T>(initial: T): Signal<T> => {
    const made = actual.signal(initial);
    const value = Object.getOwnPropertyDescriptor(actual.Signal.prototype, 'value');
    return Object.defineProperty(made, 'value', {
      get: () => value?.get?.call(made),
      set: (next: T) => {
        drawing.writes?.push(String(new Error('a signal was written').stack));
        value?.set?.call(made, next);
      },
    });
  };
  return { ...actual, signal: watched, useSignal: <T>(initial: T) => useState(() => watched(initial))[0] };
});
// What the page takes from the browser while it draws, or when its state changes.
vi.stubGlobal('document', { activeElement: null });
vi.stubGlobal('requestAnimationFrame', (work: () => void) => work());

/** Draw without a browser, so without effects. */
function draw(component: FunctionComponent): { html: string; writes: string[] } {
  const writes: string[] = [];
  drawing.writes = writes;
  try {
    return { html: renderToString(h(component, null)), writes };
  } finally {
    drawing.writes = null;
  }
}

/** Draw twice, which must give the same HTML; return it. */
function drawTwice(component: FunctionComponent): string {
  const { html, writes } = draw(component);
  expect(writes).toEqual([]);
  expect(draw(component)).toEqual({ html, writes: [] });
  return html;
}

const AT = { timestamp: '2026-01-01T00:00:00.000Z' };
const EVENTS = [
  { type: 'started', toolchain: 'claude', model: 'opus', cwd: '/repo' },
  { type: 'prompt_sent', prompt: 'Do it', tokens: 2 },
  { type: 'thinking', content: 'Hm', message_id: 'm0', partial: true },
  { type: 'response_complete', content: '**Yes**', role: 'assistant', message_id: 'm1' },
  { type: 'usage', message_id: 'm1', usage: { input_tokens: 10, output_tokens: 2 } },
  { type: 'tool_call', tool: 'Bash', args: { command: 'ls' }, call_id: 'c1' },
  { type: 'tool_result', tool: 'Bash', result: 'a\nb', call_id: 'c1' },
  { type: 'tool_call', tool: 'Edit', args: { file_path: 'a.py' }, call_id: 'c2' },
  { type: 'bash_command', command: 'ls' },
  { type: 'bash_output', output: '\u001b[31mred\u001b[0m', exit_code: 1, stream: 'stderr' },
  { type: 'file_read', path: 'a.py' },
  { type: 'file_write', path: 'a.py', size_bytes: 1, diff: '@@ -1 +1 @@\n-a\n+b\n' },
  { type: 'error', error: 'again', kind: 'overloaded', retryable: true },
  { type: 'unknown', raw: '{"a":1}' },
  { type: 'malformed', reason: 'json', bytes: 2, raw: '{' },
  { type: 'completed', status: 'success', exit_code: 0, duration_ms: 5 },
].map((event) => ({ ...event, ...AT }));

function openedView(): View {
  const view = new View('wc');
  const { timeline } = view;
  const head = EVENTS.length + 3;
  timeline.receive({ op: 'subscribed', workcell: 'wc', epoch: 1, offset: 0, head }, 0);
  timeline.receive({ op: 'gap', workcell: 'wc', epoch: 1, offset: 0, until: 3, reason: 'unavailable' }, 0);
  timeline.receive({ op: 'events', workcell: 'wc', epoch: 1, offset: 3, head, events: EVENTS }, 5_000);
  timeline.receive({ op: 'live', workcell: 'wc', epoch: 1, offset: head }, 0);
  for (const item of view.items) if (!view.open.isOpen(item)) view.toggle(item);
  return view;
}

describe('drawing changes no state', () => {
  const fleet = new Fleet();
  const mark = { offset: 0, type: 'started', ...AT };
  const open_calls = [{ call_id: 'c1', tool: 'Bash', since: AT.timestamp }];
  fleet.apply({
    op: 'fleet',
    workcells: [
      {
        id: 'wc',
        status: 'running',
        agent: 'claude',
        head: 19,
        errors: 1,
        open_calls,
        first: mark,
        last: mark,
      },
      { id: 'old', status: 'failed', unknown: { '1.2': 3 }, first: mark, last: mark },
    ],
    removed: [],
    more: false,
  });

  test('of the fleet', () => {
    expect(drawTwice(App)).toContain('Loading the workcells…');
    now.value = Date.parse(AT.timestamp) + 60_000;
    workcells.value = [...fleet.workcells.values()].map((summary) => Object.freeze(summary));
    statusesSeen.value = fleet.statuses;
    fleetComplete.value = true;
    help.value = true;
    const html = drawTwice(App);
    expect(html.match(/data-testid="workcell-card"/g)).toHaveLength(2);
    expect(html).toContain('show or hide this help');
  });

  test('of an open workcell', () => {
    route.value = { workcell: 'wc', offset: 5 };
    const html = drawTwice(App);
    expect(html).toContain('aria-label="Workcell wc"');
    expect(html).toContain('loading…');
  });

  test('of every kind of item', () => {
    const view = openedView();
    for (const item of view.items) Object.freeze(item);
    expect(view.items.length).toBeGreaterThan(12);
    for (const item of view.items) {
      view.selected = item.offset;
      view.list.place(item.offset, 0);
      const html = drawTwice(() => h(TimelineView, { view, wanted: item.offset, Row: ItemRow }));
      expect(html).toContain(`data-kind="${item.kind}"`);
    }
  });
});

describe('a component is found that', () => {
  const count = signal(0);
  const view = openedView();
  let drawn = 0;

  test.each([
    ['writes a signal', () => bump(() => count.value++)],
    ['has the view refreshed', () => bump(() => view.refresh())],
    ['counts its drawings', () => bump(() => drawn++)],
  ])('%s', (_, component) => {
    expect(() => drawTwice(component)).toThrow(/expected/);
  });
});

function bump(change: () => unknown) {
  return h('p', null, String(change()));
}
