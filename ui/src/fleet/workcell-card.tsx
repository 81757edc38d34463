// One workcell at a glance: who works, on what, since when, at what price.
import { timeOf } from '../core/event.ts';
import { age, cachedShare, duration, spent, spentInWords, tokensBriefly, whole } from '../core/format.ts';
import { routeTo } from '../core/route.ts';
import type { Summary } from '../core/wire.ts';
import { now } from '../state.ts';
import { StatusBadge } from '../status-badge.tsx';
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
            <strong>{id}</strong>
            {issue_id !== null && <span class="chip">{issue_id}</span>}
          </span>
          <span class="card-activity">
            <OpenCalls workcell={workcell} />
            <VisibleText text={activity} />
          </span>
        </span>
        <span class="card-agent">
          {agent ?? '–'}
          {model !== null && <span class="dim card-model">{model}</span>}
        </span>
        <Figure name="events" value={whole(head - base)} title={countsInWords(workcell)} />
        <Figure
          name="tokens"
          value={
            <>
              {(usage.input_tokens ?? 0) + (usage.output_tokens ?? 0) > 0 ? tokensBriefly(usage) : '–'}{' '}
              <span class="dim cached">{cachedShare(usage)}</span>
            </>
          }
        />
        <Figure name="cost" value={spentInWords(workcell)} title={priceTitle(workcell)} />
        <Figure name="errors" value={String(errors)} class={errors > 0 ? 'bad' : 'dim'} />
        <Figure name="last event" value={<Age workcell={workcell} />} />
      </a>
    </li>
  );
}

function Figure(props: { name: string; value: preact.ComponentChildren; title?: string; class?: string }) {
  return (
    <span class={`figure ${props.class ?? ''}`} {...(props.title ? { title: props.title } : {})}>
      <span class="figure-name">{props.name}</span>
      {props.value}
    </span>
  );
}

function Age({ workcell }: { workcell: Summary }) {
  const time = timeOf({ timestamp: workcell.last?.timestamp });
  return <>{time === null ? '–' : age(now.value - time)}</>;
}

export function priceTitle(workcell: Summary): string {
  return spent(workcell)?.computed ? 'by the price table: the agent has not said it yet' : '';
}

export function OpenCalls({ workcell }: { workcell: Summary }) {
  if (workcell.status !== 'running') return null;
  return (
    <>
      {(workcell.open_calls ?? []).slice(0, 4).map((call) => {
        const since = timeOf({ timestamp: call.since });
        return (
          <span class="chip chip-open" key={`${call.call_id} ${call.since}`}>
            <VisibleText text={call.tool} />
            {since !== null && (
              <span class="running-time">{duration(Math.max(1_000, now.value - since))}</span>
            )}
          </span>
        );
      })}
    </>
  );
}

export function countsInWords(workcell: Summary): string {
  return Object.entries(workcell.counts ?? {})
    .sort((a, b) => b[1] - a[1])
    .map(([type, number]) => `${whole(number)} ${type}`)
    .join('\n');
}
