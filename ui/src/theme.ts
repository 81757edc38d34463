// Light or dark: the system's choice until the user makes another, which is remembered.
import { effect, signal } from '@preact/signals';

export type Theme = 'auto' | 'light' | 'dark';
const KEY = 'workcast.theme';
const ORDER: readonly Theme[] = ['auto', 'light', 'dark'];

export const theme = signal<Theme>('auto');

/** Apply the remembered theme, and apply and remember each later choice. */
export function startTheme(): void {
  theme.value = remembered();
  effect(() => {
    const root = document.documentElement;
    if (theme.value === 'auto') delete root.dataset.theme;
    else root.dataset.theme = theme.value;
    try {
      localStorage.setItem(KEY, theme.value);
    } catch {
      // Storage may be forbidden; the choice then lasts as long as the page.
    }
  });
}

export function nextTheme(): void {
  theme.value = ORDER[(ORDER.indexOf(theme.value) + 1) % ORDER.length] ?? 'auto';
}

function remembered(): Theme {
  try {
    return ORDER.find((name) => name === localStorage.getItem(KEY)) ?? 'auto';
  } catch {
    return 'auto';
  }
}
