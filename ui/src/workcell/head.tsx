// The head of the panel: what is known of the workcell as a whole.
import { timeOf } from '../core/event.ts';
import { cost, duration, tokens, whole } from '../core/format.ts';
import type { Summary } from '../core/wire.ts';
import { countsInWords, OpenCalls } from '../fleet/workcell-card.tsx';
import { closeWorkcell, now, openedWorkcell } from '../state.ts';
import { StatusBadge } from '../status-badge.tsx';
import { VisibleText } from '../text/visible-text.tsx';
import { ConnectionState } from '../top-bar.tsx';

export function Head({ workcell, onHelp }: { workcell: string; onHelp: () => void }) {
  const summary = openedWorkcell.value;
  return (
    <header class="panel-head">
      <div class="panel-title">
        {summary && <StatusBadge status={summary.status} />}
        <h2>{workcell}</h2>
        {summary?.issue_id && <span class="chip">{summary.issue_id}</span>}
        <span class="spacer" />
        <ConnectionState />
        <button type="button" class="quiet" onClick={onHelp} aria-label="Keys">
          ?
        </button>
        <button type="button" class="quiet" onClick={closeWorkcell} aria-label="Close">
          ✕
        </button>
      </div>
      {summary && <Facts summary={summary} />}
    </header>
  );
}

function Facts({ summary }: { summary: Summary }) {
  const { agent, model, head, base, usage, cost_usd, errors, activity } = summary;
  return (
    <>
      <ul class="facts">
        <li>
          {agent ?? 'agent unknown'}
          {model !== null && <span class="dim"> · {model}</span>}
        </li>
        <li title={countsInWords(summary)}>{whole(head - base)} events</li>
        <li>{tokens(usage)}</li>
        {cost_usd !== null && <li>{cost(cost_usd)}</li>}
        <li>
          <Elapsed summary={summary} />
        </li>
        {errors > 0 && <li class="bad">{errors === 1 ? '1 error' : `${whole(errors)} errors`}</li>}
      </ul>
      {summary.status === 'running' && (
        <p class="panel-activity">
          <OpenCalls workcell={summary} />
          <VisibleText text={activity} />
        </p>
      )}
    </>
  );
}

/** From the first event to the last; while it runs, to now. */
function Elapsed({ summary }: { summary: Summary }) {
  const first = timeOf({ timestamp: summary.first?.timestamp });
  const last = timeOf({ timestamp: summary.last?.timestamp });
  if (first === null || last === null) return <>–</>;
  return <>{duration((summary.status === 'running' ? Math.max(now.value, last) : last) - first)}</>;
}
