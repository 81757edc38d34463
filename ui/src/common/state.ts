// The state of the page as signals: the connection, the fleet, the time. Idle until `start` is called.
import { computed, signal } from '@preact/signals';
import { systemClock } from '../core/clock.ts';
import { Connection, type Socket, type Status } from '../core/connection.ts';
import { Fleet, sorted } from '../core/fleet.ts';
import { refusal } from '../core/history.ts';
import { SUBPROTOCOL, type Summary } from '../core/wire.ts';
import { route } from './address.ts';

const fleet = new Fleet();

export const connection = new Connection({ open: openSocket, clock: systemClock, refusal });
export const status = signal<Status>(connection.status);
export const workcells = signal<readonly Summary[]>([]);
export const fleetComplete = signal(false);
/** Every status that a workcell of the fleet has had since the page was opened. */
export const statusesSeen = signal<ReadonlySet<Summary['status']>>(new Set());
/** In ms since 1970, once a second while the page is visible. */
export const now = signal(0);
export const openedWorkcell = computed(() => workcells.value.find((w) => w.id === route.value.workcell));

/** Connect, and keep the signals up to date. */
export function start(): void {
  now.value = systemClock.now();
  connection.listen((next) => {
    status.value = next;
  });
  const redraw = eachFrame(() => {
    workcells.value = sorted(fleet.workcells.values());
    fleetComplete.value = fleet.complete;
    if (fleet.statuses.size !== statusesSeen.value.size) statusesSeen.value = new Set(fleet.statuses);
  });
  connection.watchFleet((message) => {
    fleet.apply(message);
    if (message !== null) redraw();
  });
  window.addEventListener('online', () => connection.hurry());
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'visible') connection.hurry();
  });
  setInterval(() => {
    if (document.visibilityState === 'visible') now.value = systemClock.now();
  }, 1_000);
  connection.start();
}

/** Coalesce calls: `work` runs once in the next animation frame, however often it was requested. */
export function eachFrame(work: () => void): () => void {
  let due = false;
  return () => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      work();
    });
  };
}

function openSocket(): Socket {
  const url = new URL('/api/stream', location.href);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  return new WebSocket(url, SUBPROTOCOL) as Socket;
}
