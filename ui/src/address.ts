// The address of the page as a signal, and the way back to the fleet through the browser's history.
import { signal } from '@preact/signals';
import { FLEET, parseRoute, type Route } from './core/route.ts';

export const route = signal<Route>(parseRoute(location.hash));

/** What is kept with an entry of the history: how many entries lie between it and the fleet, if the fleet is behind it. */
interface Entry {
  readonly fleetBehind: number | null;
}

let entry: Entry = { fleetBehind: null };
/** Going back takes effect later: until then another wish to close is the same wish. */
let closing = false;

export function watchAddress(): void {
  arrive(null);
  window.addEventListener('hashchange', () => {
    const before = route.value;
    route.value = parseRoute(location.hash);
    arrive(before);
  });
}

export function closeWorkcell(): void {
  if (route.value.workcell === null || closing) return;
  if (entry.fleetBehind === null) {
    location.hash = FLEET;
    return;
  }
  closing = true;
  history.go(-entry.fleetBehind);
}

function arrive(before: Route | null): void {
  closing = false;
  entry = isEntry(history.state) ? history.state : { fleetBehind: distance(before) };
  // What leads nowhere shows the fleet, and then has the fleet's address.
  const astray = route.value.workcell === null && location.hash !== '' && location.hash !== FLEET;
  history.replaceState(entry, '', astray ? FLEET : undefined);
}

/** Of an entry that is new: nothing is known of what lies behind the first one. */
function distance(before: Route | null): number | null {
  if (before === null) return null;
  if (before.workcell === null) return 1;
  return entry.fleetBehind === null ? null : entry.fleetBehind + 1;
}

function isEntry(state: unknown): state is Entry {
  return typeof state === 'object' && state !== null && 'fleetBehind' in state;
}
