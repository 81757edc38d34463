// The foot of the panel: which events are shown, of how many, and the button to the end.
import type { Signal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { status } from '../common/state.ts';
import { whole } from '../core/format.ts';
import type { Timeline } from '../core/timeline.ts';

interface Props {
  timeline: Timeline;
  /** Grows when the timeline changes, which happens in place. */
  revision: Signal<number>;
  children: ComponentChildren;
}

export function Foot({ timeline, revision, children }: Props) {
  void revision.value;
  const { window, phase, live, attached } = timeline;
  const { lo, hi, head, base } = window;
  const behind = phase === 'shown' && attached && !live && hi < head && status.value.state === 'open';
  return (
    <footer class="panel-foot">
      {phase === 'shown' && hi > lo && (
        <span class="dim" title={`epoch ${window.epoch}`} data-testid="range">
          events #{lo}–#{hi - 1} of {whole(head - base)}
        </span>
      )}
      {behind && <span class="dim">catching up…</span>}
      <span class="notice" role="status">
        {phase === 'refused' ? '' : timeline.notice}
      </span>
      {children}
    </footer>
  );
}
