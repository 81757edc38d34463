// The bar above everything: the name, the connection's state, the theme.
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
      <ConnectionState />
      <span class="spacer" />
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
        <button type="button" class="quiet" onClick={() => connection.hurry()}>
          now
        </button>
      )}
    </span>
  );
}
