// A workcell over the fleet: its head, its timeline, its foot; closes by Escape, Back, or a click outside.
import { useSignal } from '@preact/signals';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import { closeWorkcell } from '../address.ts';
import { fetchPage } from '../core/history.ts';
import { Timeline } from '../core/timeline.ts';
import { Help, WORKCELL_KEYS } from '../help.tsx';
import { connection, eachFrame } from '../state.ts';
import { Head } from './head.tsx';
import { TimelineView } from './timeline-view.tsx';

export function WorkcellPanel({ workcell, offset }: { workcell: string; offset: number | null }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const revision = useSignal(0);
  const help = useSignal(false);
  const timeline = useMemo(() => {
    const changed = eachFrame(() => {
      revision.value += 1;
    });
    return new Timeline(workcell, connection, fetchPage, changed, offset);
    // Another offset of the same workcell is a jump, not another timeline.
  }, [workcell]);
  useEffect(() => () => timeline.close(), [timeline]);
  useEffect(() => {
    dialog.current?.showModal();
    dialog.current?.querySelector<HTMLElement>('[role="feed"]')?.focus();
    document.title = `${workcell} · workcast`;
    return () => {
      document.title = 'workcast';
    };
  }, [workcell]);
  return (
    <dialog
      ref={dialog}
      class="panel"
      aria-label={`Workcell ${workcell}`}
      onCancel={(event) => {
        // Not by Escape, which is a key of the timeline, but by a phone's gesture; a browser may close it all the same.
        event.preventDefault();
        if (help.value && event.cancelable) help.value = false;
        else closeWorkcell();
      }}
      onClose={closeWorkcell}
      onPointerDown={(event) => {
        if (event.target === dialog.current) closeWorkcell();
      }}
    >
      <div class="panel-inner">
        <Head
          workcell={workcell}
          onHelp={() => {
            help.value = !help.value;
          }}
        />
        <TimelineView timeline={timeline} revision={revision} wanted={offset} help={help} />
        {help.value && (
          <Help
            keys={WORKCELL_KEYS}
            onClose={() => {
              help.value = false;
            }}
          />
        )}
      </div>
    </dialog>
  );
}
