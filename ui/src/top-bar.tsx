// The bar above everything: the name, the connection's state, the theme.
import { route } from './address.ts';
import { help } from './fleet/keys.ts';
import { connection, status } from './state.ts';
import { nextTheme, theme } from './theme.ts';

const WORDS = { connecting: 'connecting…', open: 'live', waiting: 'reconnecting…', closed: 'closed' };
const THEMES = { auto: '◐ auto', light: '☀ light', dark: '☾ dark' };

export function TopBar() {
  return (
    <header class="top-bar">
      <a class="brand" href="#/">
        <img src="/favicon.svg" alt="" width="22" height="22" /> workcast
      </a>
      {/* The workcell over the fleet says it itself. */}
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

export function ConnectionState() {
  const { state, reason } = status.value;
  return (
    <span class={`connection connection-${state}`} data-testid="connection" data-state={state} role="status">
      <span class="dot" aria-hidden="true" />
      {WORDS[state]}
      {reason !== '' && <span class="reason">{reason}</span>}
      {state === 'waiting' && (
        <button type="button" class="try-now" onClick={() => connection.hurry()}>
          try now
        </button>
      )}
    </span>
  );
}
