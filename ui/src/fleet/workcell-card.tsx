// One workcell at a glance: its agent, activity, age and cost.

import { IssueChip } from '../common/issue-chip.tsx';
import { OpenCalls } from '../common/open-calls.tsx';
import { Spent } from '../common/spent.tsx';
import { now } from '../common/state.ts';
import { StatusBadge } from '../common/status-badge.tsx';
import { timeOf } from '../core/event.ts';
import { age, cachedShare, countsInWords, spent, tokensBriefly, whole } from '../core/format.ts';
import { routeTo } from '../core/route.ts';
import type { Summary } from '../core/wire.ts';
import { VisibleText } from '../text/visible-text.tsx';

export function WorkcellCard({ workcell }: { workcell: Summary }) {
  const { id, status, agent, model, issue_id, usage, errors, head, base, activity } = workcell;
  return (
    <li>
      <a
        class={`card card-${status}`}
        href={routeTo(id)}
        data-testid="workcell-card"
        data-workcell={id}
        data-status={status}
      >
        <StatusBadge status={status} />
        <span class="card-main">
          <span class="card-name">
            <strong title={id}>{id}</strong>
            <IssueChip issue={issue_id} />
          </span>
          <span class="card-activity">
            <OpenCalls workcell={workcell} />
            <VisibleText text={activity} />
          </span>
        </span>
        <span class="card-agent">
          {agent ?? '–'}
          {model !== null && (
            <span class="dim card-model" title={model}>
              {model}
            </span>
          )}
        </span>
        <Figure name="events" value={whole(head - base)} title={countsInWords(workcell.counts)} />
        <Figure
          name="tokens"
          value={
            <>
              {(usage.input_tokens ?? 0) + (usage.output_tokens ?? 0) > 0 ? tokensBriefly(usage) : '–'}{' '}
              <span class="dim cached">{cachedShare(usage)}</span>
            </>
          }
        />
        <Figure name="cost" value={<Spent spent={spent(workcell)} />} />
        <Figure name="errors" value={String(errors)} class={errors > 0 ? 'bad' : 'dim'} />
        <Figure name="last" value={<Age workcell={workcell} />} />
      </a>
    </li>
  );
}

function Figure(props: { name: string; value: preact.ComponentChildren; title?: string; class?: string }) {
  return (
    <span
      class={`figure figure-${props.name} ${props.class ?? ''}`}
      {...(props.title ? { title: props.title } : {})}
    >
      <span class="figure-name">{props.name}</span>
      {props.value}
    </span>
  );
}

function Age({ workcell }: { workcell: Summary }) {
  const time = timeOf({ timestamp: workcell.last?.timestamp });
  return <>{time === null ? '–' : age(now.value - time)}</>;
}
