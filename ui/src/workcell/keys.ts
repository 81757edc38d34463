// The keys of an open workcell.
import type { Signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { closeWorkcell } from '../common/address.ts';
import type { Keys } from '../common/help.tsx';
import type { View } from './view.ts';

export const WORKCELL_KEYS: Keys = [
  ['j / k', 'next, previous item'],
  ['Enter', 'expand or collapse the item'],
  ['↑ / ↓', 'scroll up, down'],
  ['PageUp / PageDown', 'scroll a page up, down'],
  ['Home / End', 'start of the log; end of the log, and follow it'],
  ['?', 'show or hide this help'],
  ['Escape', 'close'],
];

/** Handle keys while the panel is open, wherever in it the focus is. */
export function useKeys(view: View, help: Signal<boolean>): void {
  useEffect(() => {
    const listener = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const onButton = event.target instanceof Element && event.target.closest('button, a') !== null;
      if (event.key === 'Enter' && onButton) return;
      const action = actionOf(event.key, view, help);
      if (action === undefined) return;
      event.preventDefault();
      action();
    };
    document.addEventListener('keydown', listener);
    return () => document.removeEventListener('keydown', listener);
  }, [view, help]);
}

function actionOf(key: string, view: View, help: Signal<boolean>): (() => void) | undefined {
  const { scroll } = view;
  const page = 0.9 * scroll.viewport;
  switch (key) {
    case 'j':
      return () => view.select(1);
    case 'k':
      return () => view.select(-1);
    case 'Enter':
      return () => {
        const item = view.selected === null ? null : view.timeline.itemAt(view.selected);
        if (item !== null) view.toggle(item);
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
      return () => void view.toStart();
    case 'End':
      return () => {
        view.selected = null;
        view.toEnd();
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
