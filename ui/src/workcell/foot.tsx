// The foot of the panel: which events are shown of how many, so that what is missing can be seen.
import type { Signal } from '@preact/signals';
import { whole } from '../core/format.ts';
import type { Timeline } from '../core/timeline.ts';

export function Foot({ timeline, revision }: { timeline: Timeline; revision: Signal<number> }) {
  void revision.value;
  const { window, live, attached } = timeline;
  const state = live ? '● live' : attached ? '○ catching up' : '◌ reading history';
  return (
    <footer class="panel-foot">
      <span class={live ? 'good' : 'dim'}>{state}</span>
      <span class="dim">
        events {whole(window.lo)}–{whole(window.hi)} of {whole(window.head)}, epoch {window.epoch}
      </span>
      <span class="notice" role="status">
        {timeline.notice}
      </span>
    </footer>
  );
}
