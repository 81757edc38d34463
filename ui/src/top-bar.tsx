// The bar above everything: the name, the connection's state, the theme.

import { route } from './common/address.ts';
import { ConnectionState } from './common/connection-state.tsx';
import { help } from './fleet/keys.ts';
import { nextTheme, theme } from './theme.ts';

const THEMES = { auto: '◐ auto', light: '☀ light', dark: '☾ dark' };

export function TopBar() {
  return (
    <header class="top-bar">
      <a class="brand" href="#/">
        <img src="/favicon.svg" alt="" width="22" height="22" /> workcast
      </a>
      {/* An open workcell shows the state in its own head. */}
      {route.value.workcell === null && <ConnectionState />}
      <span class="spacer" />
      <button
        type="button"
        class="quiet"
        aria-label="Keys"
        onClick={() => {
          help.value = !help.value;
        }}
      >
        ?
      </button>
      <button type="button" class="quiet" onClick={nextTheme} aria-label={`Theme: ${theme.value}`}>
        {THEMES[theme.value]}
      </button>
    </header>
  );
}
