// The keys of the timeline, and the item they have selected.
import type { Signal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { closeWorkcell } from '../address.ts';
import type { Timeline } from '../core/timeline.ts';
import type { OpenItems } from './open-items.ts';
import type { Scroll } from './scroll.ts';

interface Context {
  timeline: Timeline;
  scroll: Scroll;
  open: OpenItems;
  help: Signal<boolean>;
  redraw: () => void;
}

/** Listens while the panel is open, wherever in it the focus is; returns the offset of the selected item. */
export function useKeys(context: Context): number | null {
  const selected = useRef<number | null>(null);
  const latest = useRef(context);
  latest.current = context;
  useEffect(() => {
    const listener = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const onButton = event.target instanceof Element && event.target.closest('button, a') !== null;
      if (event.key === 'Enter' && onButton) return;
      const action = actionOf(event.key, latest.current, selected);
      if (action === undefined) return;
      event.preventDefault();
      action();
      latest.current.redraw();
    };
    document.addEventListener('keydown', listener);
    return () => document.removeEventListener('keydown', listener);
  }, []);
  return selected.current;
}

type Selected = { current: number | null };

function actionOf(key: string, context: Context, selected: Selected): (() => void) | undefined {
  const { timeline, scroll, open, help } = context;
  const page = 0.9 * scroll.viewport;
  switch (key) {
    case 'j':
      return () => move(1, context, selected);
    case 'k':
      return () => move(-1, context, selected);
    case 'Enter':
      return () => {
        const item = selected.current === null ? null : timeline.itemAt(selected.current);
        if (item !== null) open.toggle(item);
      };
    case 'ArrowUp':
      return () => scroll.by(-60);
    case 'ArrowDown':
      return () => scroll.by(60);
    case 'PageUp':
      return () => scroll.by(-page);
    case 'PageDown':
      return () => scroll.by(page);
    case 'Home':
      return () => home(context);
    case 'End':
      return () => {
        if (!timeline.attached) timeline.toEnd();
        selected.current = null;
        scroll.follow();
      };
    case 'Escape':
      return () => {
        if (help.value) help.value = false;
        else closeWorkcell();
      };
    case '?':
      return () => {
        help.value = !help.value;
      };
    default:
      return undefined;
  }
}

function home({ timeline, scroll }: Context): void {
  scroll.leave();
  const { base, lo } = timeline.window;
  if (lo > base) void timeline.jump(base).then(() => scroll.list.place(timeline.window.lo, 1_000));
  else scroll.list.place(lo, 1_000);
}

/** Select the next item; from nothing, the one at the top of the view. */
function move(step: number, { timeline, scroll }: Context, selected: Selected): void {
  const { items } = timeline;
  const { list } = scroll;
  const top = scroll.top;
  const index =
    selected.current === null
      ? list.slice(top, scroll.viewport, 0).from
      : list.indexOf(selected.current) + step;
  const item = items[Math.max(0, Math.min(items.length - 1, index))];
  if (item === undefined) return;
  selected.current = item.offset;
  const at = list.indexOf(item.offset);
  const [begin, end] = [list.top(at), list.top(at + 1)];
  if (begin < top) {
    scroll.leave();
    list.place(item.offset, 8);
  } else if (end > top + scroll.viewport && !list.following) {
    list.place(item.offset, Math.max(8, scroll.viewport - (end - begin) - 8));
  }
}
