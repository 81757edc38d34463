// What lies beyond the first and the last row.
import { whole } from '../core/format.ts';
import type { Timeline } from '../core/timeline.ts';

export function Edge({ timeline, end }: { timeline: Timeline; end: boolean }) {
  return <p class={`edge ${end ? 'edge-end' : ''}`}>{end ? after(timeline) : before(timeline)}</p>;
}

function before({ phase, loading, hasEarlier, window, notice }: Timeline): string {
  if (phase === 'unknown')
    return 'Nothing is known of this workcell yet; it is asked for again when it appears.';
  if (phase === 'refused') return notice;
  if (phase === 'loading') return 'loading…';
  if (loading === 'earlier') return 'loading earlier events…';
  if (hasEarlier) return `${whole(window.lo - window.base)} earlier events: scroll up to load them`;
  if (window.head === 0) return 'No event yet.';
  return window.base > 0 ? `the ${whole(window.base)} events before this were pruned` : 'the log begins here';
}

function after({ loading, hasLater, window, live }: Timeline): string {
  if (loading === 'later') return 'loading later events…';
  if (hasLater) return `${whole(window.head - window.hi)} later events`;
  return live && window.head > 0 ? 'up to date' : '';
}
