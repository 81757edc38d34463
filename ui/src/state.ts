// What the page knows, as signals: the connection, the fleet, the time.
import { computed, signal } from '@preact/signals';
import { route, watchAddress } from './address.ts';
import { systemClock } from './core/clock.ts';
import { Connection, type Socket, type Status } from './core/connection.ts';
import { Fleet, sorted } from './core/fleet.ts';
import { refusal } from './core/history.ts';
import { SUBPROTOCOL, type Summary } from './core/wire.ts';

const fleet = new Fleet();

export const connection = new Connection({ open: openSocket, clock: systemClock, refusal });
export const status = signal<Status>(connection.status);
export const workcells = signal<readonly Summary[]>([]);
export const fleetComplete = signal(false);
export const now = signal(Date.now());
export const openedWorkcell = computed(() => workcells.value.find((w) => w.id === route.value.workcell));

export function start(): void {
  connection.listen((next) => {
    status.value = next;
  });
  const redraw = eachFrame(() => {
    workcells.value = sorted(fleet.workcells.values());
    fleetComplete.value = fleet.complete;
  });
  connection.watchFleet((message) => {
    fleet.take(message);
    if (message !== null) redraw();
  });
  watchAddress();
  window.addEventListener('online', () => connection.hurry());
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'visible') connection.hurry();
  });
  setInterval(() => {
    if (document.visibilityState === 'visible') now.value = Date.now();
  }, 1_000);
  connection.start();
}

/** Runs the work at the next frame, however often it is asked for until then. */
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
