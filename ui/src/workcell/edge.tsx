// The texts before the first and after the last row, and the text of an empty timeline.
import { counted } from '../core/format.ts';
import type { Timeline } from '../core/timeline.ts';

export function Edge({ timeline, end }: { timeline: Timeline; end: boolean }) {
  return <p class={`edge ${end ? 'edge-end' : ''}`}>{end ? after(timeline) : before(timeline)}</p>;
}

export function Empty({ timeline }: { timeline: Timeline }) {
  return (
    <p class="nothing" role="status">
      {emptyMessage(timeline)}
    </p>
  );
}

function emptyMessage({ phase, notice, window }: Timeline): string {
  if (phase === 'unknown') return 'There is no workcell with this name. If one appears, it is shown here.';
  if (phase === 'refused') return notice;
  const empty = phase === 'shown' && window.head === 0;
  return empty ? 'No events yet. The first one is shown as soon as it arrives.' : 'loading…';
}

function before({ loading, hasEarlier, window }: Timeline): string {
  if (loading === 'earlier') return 'loading earlier events…';
  if (hasEarlier) return `${counted(window.lo - window.base, 'earlier event')}: scroll up to load them`;
  return window.base > 0 ? `${counted(window.base, 'earlier event')} pruned` : 'start of the log';
}

function after({ loading, hasLater, window, live }: Timeline): string {
  if (loading === 'later') return 'loading later events…';
  if (hasLater) return counted(window.head - window.hi, 'later event');
  return live ? 'up to date' : '';
}
