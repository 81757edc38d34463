// The head of the panel: what is known of the workcell as a whole.
import { closeWorkcell } from '../address.ts';
import { timeOf } from '../core/event.ts';
import { counted, duration, spent, tokens, whole } from '../core/format.ts';
import type { Summary } from '../core/wire.ts';
import { countsInWords, IssueChip, OpenCalls } from '../fleet/workcell-card.tsx';
import { Spent } from '../spent.tsx';
import { now, openedWorkcell } from '../state.ts';
import { StatusBadge } from '../status-badge.tsx';
import { VisibleText } from '../text/visible-text.tsx';
import { ConnectionState } from '../top-bar.tsx';

export function Head({ workcell, onHelp }: { workcell: string; onHelp: () => void }) {
  const summary = openedWorkcell.value;
  return (
    <header class="panel-head">
      <div class="panel-title">
        {summary && <StatusBadge status={summary.status} />}
        <h2 title={workcell}>{workcell}</h2>
        <IssueChip issue={summary?.issue_id ?? null} />
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
  const { agent, model, head, base, usage, errors, activity } = summary;
  return (
    <>
      <ul class="facts">
        <li>
          {agent ?? 'agent unknown'}
          {model !== null && <span class="dim"> · {model}</span>}
        </li>
        <li title={countsInWords(summary)}>{counted(head - base, 'event')}</li>
        <li>{tokens(usage)}</li>
        {spent(summary) !== null && (
          <li>
            <Spent spent={spent(summary)} />
          </li>
        )}
        <li title={`${duration(summary.tools_ms)} of it in tools`}>
          <Elapsed summary={summary} />
        </li>
        <UnknownLines summary={summary} />
        {errors > 0 && <li class="bad">{counted(errors, 'error')}</li>}
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

/** How far the agent's own words are not understood: which version printed them, as a tooltip. */
function UnknownLines({ summary }: { summary: Summary }) {
  const versions = Object.entries(summary.unknown);
  const total = versions.reduce((sum, [, number]) => sum + number, 0);
  if (total === 0) return null;
  const told = versions.map(([version, number]) => `${whole(number)} of ${version}`).join('\n');
  return (
    <li class="bad" title={told}>
      {counted(total, 'unknown line')}
    </li>
  );
}

/** From the first event to the last; while it runs, to now. */
function Elapsed({ summary }: { summary: Summary }) {
  const first = timeOf({ timestamp: summary.first?.timestamp });
  const last = timeOf({ timestamp: summary.last?.timestamp });
  if (first === null || last === null) return <>–</>;
  return <>{duration((summary.status === 'running' ? Math.max(now.value, last) : last) - first)}</>;
}
