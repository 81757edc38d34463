// History over HTTP: pages of events by offset, and word on why the gateway refuses this page.
import type { EventPage } from '../contract.ts';

export interface Page extends EventPage {
  /** Its length as text. */
  readonly size: number;
}

export type FetchPage = (workcell: string, offset: number, limit: number) => Promise<Page>;

export const PAGE_LIMIT = 500;

/** A page of events; throws an Error whose message can be shown. */
export const fetchPage: FetchPage = async (workcell, offset, limit) => {
  const url = `/api/workcells/${encodeURIComponent(workcell)}/events?offset=${offset}&limit=${limit}`;
  const response = await fetch(url);
  const text = await response.text();
  if (!response.ok) throw new Error(`the gateway answered ${response.status} to a request for history`);
  const page: unknown = JSON.parse(text);
  if (!isPage(page)) throw new Error('the gateway sent a page of history that this dashboard cannot read');
  return { ...page, size: text.length };
};

/** Why a page cannot show an offset that was asked for; empty if it can. */
export function missing(offset: number, { base, head }: Page): string {
  if (head === 0) return '';
  if (offset >= head) return `there is no event #${offset}: the log ends at #${head - 1}`;
  return offset < base ? `event #${offset} was pruned: the log begins at #${base}` : '';
}

/** Where the whole line of an event that the wire cut is to be had. */
export function wholeLineUrl(workcell: string, offset: number): string {
  return `/api/workcells/${encodeURIComponent(workcell)}/events/${offset}`;
}

/** Why the gateway refuses this page, or null if it answers, or does not answer at all. */
export async function refusal(): Promise<string | null> {
  try {
    const { status } = await fetch('/api/session');
    if (status === 401) return 'the gateway wants a token; open the address that it printed when it started';
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
