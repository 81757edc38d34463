// What lies beyond the first and the last row, and what stands there if there is none.
import { counted } from '../core/format.ts';
import type { Timeline } from '../core/timeline.ts';

export function Edge({ timeline, end }: { timeline: Timeline; end: boolean }) {
  return <p class={`edge ${end ? 'edge-end' : ''}`}>{end ? after(timeline) : before(timeline)}</p>;
}

export function Nothing({ timeline }: { timeline: Timeline }) {
  return (
    <p class="nothing" role="status">
      {nothing(timeline)}
    </p>
  );
}

function nothing({ phase, notice, window }: Timeline): string {
  if (phase === 'unknown') return 'There is no workcell of this name. If one appears, it is shown here.';
  if (phase === 'refused') return notice;
  const empty = phase === 'shown' && window.head === 0;
  return empty ? 'No event yet. The first one is shown as soon as it comes.' : 'loading…';
}

function before({ loading, hasEarlier, window }: Timeline): string {
  if (loading === 'earlier') return 'loading earlier events…';
  if (hasEarlier) return `${counted(window.lo - window.base, 'earlier event')}: scroll up to load them`;
  return window.base > 0
    ? `the ${counted(window.base, 'event')} before this were pruned`
    : 'the log begins here';
}

function after({ loading, hasLater, window, live }: Timeline): string {
  if (loading === 'later') return 'loading later events…';
  if (hasLater) return counted(window.head - window.hi, 'later event');
  return live ? 'up to date' : '';
}
