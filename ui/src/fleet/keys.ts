// The keys of Mission Control. They move the focus, so a row is a link like any other.
import { signal } from '@preact/signals';
import type { RefObject } from 'preact';
import { useEffect } from 'preact/hooks';
import { route } from '../common/address.ts';
import type { Keys } from '../common/help.tsx';

export const FLEET_KEYS: Keys = [
  ['j / k', 'next, previous workcell'],
  ['Enter', 'open the workcell'],
  ['Home / End', 'first, last workcell'],
  ['/', 'search'],
  ['Escape', 'clear the search, then leave it'],
  ['?', 'show or hide this help'],
];

/** Whether the help is shown. */
export const help = signal(false);

/** Handle keys while no workcell is open; `clear` empties the search box. */
export function useFleetKeys(box: RefObject<HTMLInputElement | null>, clear: () => void): void {
  useEffect(() => {
    const listener = (event: KeyboardEvent) => {
      if (route.value.workcell !== null || event.ctrlKey || event.metaKey || event.altKey) return;
      const { current } = box;
      const action =
        current !== null && event.target === current
          ? actionInBox(event, current, clear)
          : actionOf(event.key, current);
      if (action === undefined) return;
      event.preventDefault();
      action();
    };
    document.addEventListener('keydown', listener);
    return () => document.removeEventListener('keydown', listener);
  }, []);
}

/** Return the focus to a workcell's row when the workcell is closed. */
export function useFocusReturned(): void {
  const opened = route.value.workcell;
  useEffect(() => {
    if (opened === null) return;
    help.value = false;
    // This also runs when another workcell is opened instead: the focused row is then behind its dialog, which is harmless.
    return () => rowOf(opened)?.focus();
  }, [opened]);
}

export function rowOf(workcell: string): HTMLElement | null {
  return document.querySelector<HTMLElement>(`.card[data-workcell="${CSS.escape(workcell)}"]`);
}

type Action = (() => void) | undefined;

function actionInBox({ key, isComposing }: KeyboardEvent, box: HTMLInputElement, clear: () => void): Action {
  if (isComposing) return undefined;
  if (key === 'Escape') return box.value === '' ? () => box.blur() : clear;
  return key === 'ArrowDown' ? () => focusRow(() => 0) : undefined;
}

function actionOf(key: string, box: HTMLInputElement | null): Action {
  switch (key) {
    case 'j':
      return () => focusRow((at) => at + 1);
    case 'k':
      return () => focusRow((at) => at - 1);
    case 'Home':
      return () => focusRow(() => 0);
    case 'End':
      return () => focusRow((_, count) => count - 1);
    case '/':
      return () => box?.focus();
    case '?':
      return () => {
        help.value = !help.value;
      };
    case 'Escape':
      return help.value
        ? () => {
            help.value = false;
          }
        : undefined;
    default:
      return undefined;
  }
}

/** Focus another row, counted from the focused one, or from before the first (-1) if none is focused. */
function focusRow(to: (at: number, count: number) => number): void {
  const rows = [...document.querySelectorAll<HTMLElement>('.card')];
  const at = rows.indexOf(document.activeElement as HTMLElement);
  rows[Math.max(0, Math.min(rows.length - 1, to(at, rows.length)))]?.focus();
}
