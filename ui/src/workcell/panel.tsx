// A workcell over the fleet: its head, its timeline, its foot; closes by Escape, Back, or a click outside.
import { useSignal } from '@preact/signals';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import { fetchPage } from '../core/history.ts';
import { Timeline } from '../core/timeline.ts';
import { closeWorkcell, connection, eachFrame } from '../state.ts';
import { Foot } from './foot.tsx';
import { Head } from './head.tsx';
import { Help } from './help.tsx';
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
        event.preventDefault();
        if (help.value) help.value = false;
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
        <Foot timeline={timeline} revision={revision} />
        {help.value && (
          <Help
            onClose={() => {
              help.value = false;
            }}
          />
        )}
      </div>
    </dialog>
  );
}
