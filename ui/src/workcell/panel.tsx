// A workcell over the fleet: its head, its timeline, its foot; closes by Escape, Back, or a click outside.
import { useSignal } from '@preact/signals';
import type { ComponentType } from 'preact';
import { useEffect, useLayoutEffect, useMemo, useRef } from 'preact/hooks';
import { closeWorkcell } from '../common/address.ts';
import { Help } from '../common/help.tsx';
import type { RowProps } from '../common/row.ts';
import { Head } from './head.tsx';
import { useKeys, WORKCELL_KEYS } from './keys.ts';
import { TimelineView } from './timeline-view.tsx';
import { View } from './view.ts';

interface Props {
  workcell: string;
  /** The offset that the address names. */
  offset: number | null;
  Row: ComponentType<RowProps>;
}

export function WorkcellPanel({ workcell, offset, Row }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const help = useSignal(false);
  const view = useMemo(() => new View(workcell), [workcell]);
  useKeys(view, help);
  useLayoutEffect(() => void view.show(offset), [view, offset]);
  useEffect(() => () => view.close(), [view]);
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
        // Escape is handled as a key of the timeline; this is a phone's gesture, which a browser may not let us cancel.
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
        <TimelineView view={view} wanted={offset} Row={Row} />
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
