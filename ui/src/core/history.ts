// History over HTTP: pages of events by offset, and the reason if the gateway refuses this page.
import type { EventPage } from '../contract.ts';

export interface Page extends EventPage {
  /** The length of its text, in characters. */
  readonly size: number;
}

export type FetchPage = (
  workcell: string,
  offset: number,
  limit: number,
  signal: AbortSignal,
) => Promise<Page>;

export const PAGE_LIMIT = 500;

/** Fetch a page of events; throws an Error whose message can be shown. */
export const fetchPage: FetchPage = async (workcell, offset, limit, signal) => {
  const url = `/api/workcells/${encodeURIComponent(workcell)}/events?offset=${offset}&limit=${limit}`;
  const response = await fetch(url, { signal });
  const text = await response.text();
  if (!response.ok) throw new Error(`the gateway answered ${response.status} to a request for history`);
  const page: unknown = JSON.parse(text);
  if (!isPage(page)) throw new Error('the gateway sent a page of history that this dashboard cannot read');
  return { ...page, size: text.length };
};

/** Why a page cannot show the requested offset; empty if it can. */
export function missing(offset: number, { base, head }: Page): string {
  if (head === 0) return '';
  if (offset >= head) return `there is no event #${offset}: the log ends at #${head - 1}`;
  return offset < base ? `event #${offset} was pruned: the log begins at #${base}` : '';
}

/** The address of the whole line of an event that was truncated on the wire. */
export function wholeLineUrl(workcell: string, offset: number): string {
  return `/api/workcells/${encodeURIComponent(workcell)}/events/${offset}`;
}

/** Why the gateway refuses this page; null if it does not, or cannot be reached. */
export async function refusal(): Promise<string | null> {
  try {
    const { status } = await fetch('/api/session');
    if (status === 401)
      return 'the gateway requires a token; open the address that it printed when it started';
    return status === 403 ? 'the gateway refuses this page (a foreign origin or host)' : null;
  } catch {
    return null;
  }
}

function isPage(page: unknown): page is EventPage {
  if (typeof page !== 'object' || page === null) return false;
  const { epoch, base, head, offset, events } = page as Record<string, unknown>;
  return [epoch, base, head, offset].every(Number.isSafeInteger) && Array.isArray(events);
}
