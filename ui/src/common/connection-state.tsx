// The state of the connection in a word, and a button that reconnects at once.
import { connection, status } from './state.ts';

const WORDS = { connecting: 'connecting…', open: 'live', waiting: 'reconnecting…', closed: 'closed' };

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
