// The items of a timeline: each shows one action of an agent, and is built from one or more events.
import type { Completed, Usage } from '../contract.ts';
import type { WireEvent } from './event.ts';

export type Kind =
  | 'started'
  | 'prompt'
  | 'answer'
  | 'thinking'
  | 'call'
  | 'command'
  | 'output'
  | 'file'
  | 'usage'
  | 'outcome'
  | 'error'
  | 'raw'
  | 'gap';

interface Base {
  readonly kind: Kind;
  /** The offset of its first event: its key in permalinks and in the list. */
  readonly offset: number;
  /** How many calls of sub-agents it is nested in. */
  readonly depth: number;
  /** In ms since 1970. */
  readonly time: number | null;
  /** Grows with every change, so that its row is drawn again. */
  revision: number;
  usage?: Usage;
  /** If one of its events was truncated on the wire: that event's offset, and the size of its whole line. */
  cut?: { readonly offset: number; readonly bytes: number };
}

export interface TextItem extends Base {
  readonly kind: 'prompt' | 'answer' | 'thinking';
  text: string;
  role: string;
  /** Whether chunks may still be added. */
  partial: boolean;
  /** The model's stream broke off; another message replaces this text. */
  abandoned?: true;
}

export interface FileTouch {
  readonly path: string;
  readonly write: boolean;
  readonly added: number | null;
  readonly removed: number | null;
  readonly diff: string | null;
}

export interface CallItem extends Base {
  readonly kind: 'call';
  readonly tool: string;
  readonly args: unknown;
  /** `lost`: the agent ended before the call returned. */
  state: 'open' | 'ok' | 'failed' | 'lost';
  /** Whether the call itself lies before the window. */
  readonly resultOnly: boolean;
  result: unknown;
  error: string | null;
  command: string | null;
  output: string | null;
  exitCode: number | null;
  durationMs: number | null;
  files: FileTouch[];
}

export interface CommandItem extends Base {
  readonly kind: 'command';
  readonly command: string;
}

export interface OutputItem extends Base {
  readonly kind: 'output';
  readonly output: string;
  /** `stdout` or `stderr`; null if unknown. */
  readonly stream: string | null;
  readonly exitCode: number | null;
}

export interface FileItem extends Base {
  readonly kind: 'file';
  readonly file: FileTouch;
}

export interface UsageItem extends Base {
  readonly kind: 'usage';
}

export interface StartedItem extends Base {
  readonly kind: 'started';
  readonly facts: readonly (readonly [string, string])[];
  readonly toolchain: string;
}

export interface OutcomeItem extends Base {
  readonly kind: 'outcome';
  readonly completed: Completed;
}

export interface ErrorItem extends Base {
  readonly kind: 'error';
  readonly error: string;
  readonly what: string;
  readonly retryable: boolean;
}

export interface RawItem extends Base {
  readonly kind: 'raw';
  /** Why the event is shown as JSON. */
  readonly why: string;
  readonly event: WireEvent;
}

export interface GapItem extends Base {
  readonly kind: 'gap';
  readonly until: number;
  readonly reason: string;
}

export type Item =
  | TextItem
  | CallItem
  | CommandItem
  | OutputItem
  | FileItem
  | UsageItem
  | StartedItem
  | OutcomeItem
  | ErrorItem
  | RawItem
  | GapItem;
