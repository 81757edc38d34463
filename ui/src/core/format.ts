// Durations, ages, counts, tokens and costs as text.
import type { Summary, Usage } from '../contract.ts';

export function duration(ms: number): string {
  if (!Number.isFinite(ms) || ms < 0) return '–';
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1_000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** How long ago, coarsely: it is read at a glance and redrawn every second. */
export function age(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  if (seconds < 2) return 'now';
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3_600)} h` : `${Math.floor(seconds / 86_400)} d`;
}

/** Three digits or so: 950, 12.4k, 3.1M. */
export function count(value: number): string {
  if (value < 1_000) return String(value);
  if (value < 999_500) return `${(value / 1_000).toFixed(value < 99_950 ? 1 : 0)}k`;
  return `${(value / 1_000_000).toFixed(1)}M`;
}

/** All digits, grouped by thousands. */
export function whole(value: number): string {
  return value.toLocaleString('en-US');
}

/** 1 line, 2,000 lines. */
export function counted(number: number, noun: string): string {
  return `${whole(number)} ${noun}${number === 1 ? '' : 's'}`;
}

export function cost(usd: number): string {
  return usd > 0 && usd < 0.01 ? '< $0.01' : `$${usd.toFixed(2)}`;
}

export interface Spending {
  readonly usd: number;
  /** At least partly computed from the price table instead of reported by the agents. */
  readonly computed: boolean;
}

/** The cost of a workcell: as reported by its agents, or computed from the price table until they report it. */
export function spent(workcell: Summary): Spending | null {
  const { status, cost_usd, cost_computed_usd } = workcell;
  const early = status === 'running' || cost_usd === null;
  if (early && cost_computed_usd) return { usd: cost_computed_usd, computed: true };
  return cost_usd === null ? null : { usd: cost_usd, computed: false };
}

/** The total cost of several workcells: computed if any of them is. */
export function spentTogether(workcells: readonly Summary[]): Spending {
  const all = workcells.map(spent).filter((one) => one !== null);
  return { usd: all.reduce((sum, { usd }) => sum + usd, 0), computed: all.some(({ computed }) => computed) };
}

export function spentInWords(spending: Spending | null): string {
  return spending === null ? '–' : `${spending.computed ? '≈ ' : ''}${cost(spending.usd)}`;
}

export function tokens(usage: Usage): string {
  const cached = cachedShare(usage);
  return `${tokensBriefly(usage)}${cached === '' ? '' : ` (${cached})`}`;
}

export function tokensBriefly(usage: Usage): string {
  return `${count(Number(usage.input_tokens ?? 0))} in · ${count(Number(usage.output_tokens ?? 0))} out`;
}

/** The share of the input tokens that was read from the cache; empty if there was none. */
export function cachedShare(usage: Usage): string {
  const input = Number(usage.input_tokens ?? 0);
  const cached = Number(usage.cache_read_tokens ?? 0);
  return input > 0 && cached > 0 ? `${Math.round((100 * cached) / input)}% cached` : '';
}

/** One line per event type, the most frequent first. */
export function countsInWords(counts: Summary['counts']): string {
  return Object.entries(counts ?? {})
    .sort((a, b) => b[1] - a[1])
    .map(([type, number]) => `${whole(number)} ${type}`)
    .join('\n');
}

export function clockTime(time: number): string {
  return new Date(time).toLocaleTimeString('en-GB');
}
