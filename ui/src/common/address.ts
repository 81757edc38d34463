// The address of the page as a signal, and the way back to the fleet through the browser's history.
import { signal } from '@preact/signals';
import { FLEET, parseRoute, type Route } from '../core/route.ts';

export const route = signal<Route>({ workcell: null, offset: null });

/** State kept with a history entry: the number of entries back to the fleet, or null if that is unknown. */
interface Entry {
  readonly fleetBehind: number | null;
}

let entry: Entry = { fleetBehind: null };
/** `history.go` takes effect later; until then further requests to close are ignored. */
let closing = false;

/** Read the address, and follow its changes from now on. */
export function watchAddress(): void {
  route.value = parseRoute(location.hash);
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
  // An invalid address shows the fleet, so it is replaced by the fleet's.
  const invalid = route.value.workcell === null && location.hash !== '' && location.hash !== FLEET;
  history.replaceState(entry, '', invalid ? FLEET : undefined);
}

/** How many entries lie between a new entry and the fleet; null for the first entry of the page. */
function distance(before: Route | null): number | null {
  if (before === null) return null;
  if (before.workcell === null) return 1;
  return entry.fleetBehind === null ? null : entry.fleetBehind + 1;
}

function isEntry(state: unknown): state is Entry {
  return typeof state === 'object' && state !== null && 'fleetBehind' in state;
}
