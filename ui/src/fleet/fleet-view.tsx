// Mission Control: one card per workcell, with a filter by words and by status.
import { computed, signal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';
import { Help } from '../common/help.tsx';
import { Spent } from '../common/spent.tsx';
import { fleetComplete, statusesSeen, workcells } from '../common/state.ts';
import { matches } from '../core/fleet.ts';
import { count, spentTogether, whole } from '../core/format.ts';
import type { Summary } from '../core/wire.ts';
import { FLEET_KEYS, help, rowOf, useFleetKeys, useFocusReturned } from './keys.ts';
import { WorkcellCard } from './workcell-card.tsx';

/** How many cards are drawn at first, and added by each “show more”. */
const STEP = 200;
const STATUSES: readonly Summary['status'][] = [
  'running',
  'success',
  'failed',
  'timeout',
  'cancelled',
  'lost',
  'new',
];

const filter = signal('');
const only = signal('');
const limit = signal(STEP);
const shown = computed(() => workcells.value.filter((w) => matches(w, filter.value, only.value)));

export function FleetView() {
  const box = useRef<HTMLInputElement>(null);
  useFleetKeys(box, () => {
    filter.value = '';
  });
  useFocusReturned();
  return (
    <main class="fleet">
      <div class="fleet-head">
        <h1>Mission Control</h1>
        <Totals />
      </div>
      <div class="filters">
        <label class="search">
          <input
            ref={box}
            type="search"
            placeholder="Filter by id, issue, agent, model, activity"
            aria-label="Filter workcells"
            value={filter}
            onInput={(event) => {
              filter.value = event.currentTarget.value;
            }}
          />
        </label>
        <StatusFilter />
      </div>
      <Cards />
      {help.value && (
        <Help
          keys={FLEET_KEYS}
          onClose={() => {
            help.value = false;
          }}
        />
      )}
    </main>
  );
}

function Totals() {
  const all = workcells.value;
  const sum = (of: (w: Summary) => number) => all.reduce((total, w) => total + of(w), 0);
  return (
    <dl class="totals">
      <Total name="workcells" value={whole(all.length)} />
      <Total name="running" value={whole(sum((w) => Number(w.status === 'running')))} />
      <Total name="events" value={count(sum((w) => w.head - w.base))} />
      <Total
        name="tokens"
        value={count(sum((w) => (w.usage.input_tokens ?? 0) + (w.usage.output_tokens ?? 0)))}
      />
      <Total name="cost" value={<Spent spent={spentTogether(all)} />} />
    </dl>
  );
}

function Total({ name, value }: { name: string; value: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function StatusFilter() {
  // A button that has appeared stays, so that the others do not move under the pointer.
  const present = STATUSES.filter((status) => statusesSeen.value.has(status));
  return (
    <fieldset class="status-filter" aria-label="Filter by status">
      {['', ...present].map((status) => (
        <button
          key={status}
          type="button"
          aria-pressed={only.value === status}
          onClick={() => {
            only.value = status;
          }}
        >
          {status === '' ? 'all' : status}{' '}
          <span class="dim">
            {status === ''
              ? workcells.value.length
              : workcells.value.filter((w) => w.status === status).length}
          </span>
        </button>
      ))}
    </fieldset>
  );
}

function Cards() {
  const list = shown.value;
  const focused = document.activeElement?.closest<HTMLElement>('.card')?.dataset.workcell;
  useLayoutEffect(() => {
    // Moving a row detaches it for a moment, which takes the focus away.
    if (focused !== undefined && document.activeElement === document.body)
      rowOf(focused)?.focus({ preventScroll: true });
  });
  if (list.length === 0) {
    return <p class="empty">{emptyMessage()}</p>;
  }
  return (
    <>
      <div class="cards-head" aria-hidden="true">
        <span>status</span>
        <span>workcell and activity</span>
        <span>agent</span>
        <span>events</span>
        <span>tokens</span>
        <span>cost</span>
        <span>errors</span>
        <span>last</span>
      </div>
      <ul class="cards">
        {list.slice(0, limit.value).map((workcell) => (
          <WorkcellCard key={workcell.id} workcell={workcell} />
        ))}
      </ul>
      {list.length > limit.value && (
        <button
          type="button"
          class="more"
          onClick={() => {
            limit.value += STEP;
          }}
        >
          show {Math.min(STEP, list.length - limit.value)} more of {whole(list.length)}
        </button>
      )}
    </>
  );
}

function emptyMessage(): string {
  if (!fleetComplete.value) return 'Loading the workcells…';
  if (workcells.value.length === 0)
    return 'No workcells yet. Start an agent with “workcast run”, and it appears here.';
  return 'No workcell matches the filter.';
}
