// The head of the panel: the workcell's name, state and totals.

import { closeWorkcell } from '../common/address.ts';
import { ConnectionState } from '../common/connection-state.tsx';
import { IssueChip } from '../common/issue-chip.tsx';
import { OpenCalls } from '../common/open-calls.tsx';
import { Spent } from '../common/spent.tsx';
import { now, openedWorkcell } from '../common/state.ts';
import { StatusBadge } from '../common/status-badge.tsx';
import { timeOf } from '../core/event.ts';
import { counted, countsInWords, duration, spent, tokens, whole } from '../core/format.ts';
import type { Summary } from '../core/wire.ts';
import { VisibleText } from '../text/visible-text.tsx';

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
        <li title={countsInWords(summary.counts)}>{counted(head - base, 'event')}</li>
        <li>{tokens(usage)}</li>
        {spent(summary) !== null && (
          <li>
            <Spent spent={spent(summary)} />
          </li>
        )}
        <li title={`${duration(summary.tools_ms)} of it in tool calls`}>
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

/** How many lines of the agent's output were not recognized; a tooltip lists them by agent version. */
function UnknownLines({ summary }: { summary: Summary }) {
  const versions = Object.entries(summary.unknown);
  const total = versions.reduce((sum, [, number]) => sum + number, 0);
  if (total === 0) return null;
  const byVersion = versions.map(([version, number]) => `${whole(number)} from ${version}`).join('\n');
  return (
    <li class="bad" title={byVersion}>
      {counted(total, 'unknown line')}
    </li>
  );
}

/** The time from the first event to the last, or to now while the workcell is running. */
function Elapsed({ summary }: { summary: Summary }) {
  const first = timeOf({ timestamp: summary.first?.timestamp });
  const last = timeOf({ timestamp: summary.last?.timestamp });
  if (first === null || last === null) return <>–</>;
  return <>{duration((summary.status === 'running' ? Math.max(now.value, last) : last) - first)}</>;
}
