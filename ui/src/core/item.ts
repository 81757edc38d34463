// What a timeline shows: one item for each thing an agent did, built from one event or many.
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
  /** Its first offset: its name in permalinks and in the list. */
  readonly offset: number;
  /** How deep below the calls that started it. */
  readonly depth: number;
  readonly time: number | null;
  /** Grows with every change, so that a row knows when to draw itself again. */
  revision: number;
  usage?: Usage;
  /** How many bytes the whole line has, if the wire cut one of its events, and where that one is. */
  cut?: { readonly offset: number; readonly bytes: number };
}

export interface TextItem extends Base {
  readonly kind: 'prompt' | 'answer' | 'thinking';
  text: string;
  role: string;
  /** Still growing by chunks. */
  partial: boolean;
  /** The model's stream broke off: another message takes its place. */
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
  /** `lost`: its agent ended without a result. `result only`: its call lies before the window. */
  state: 'open' | 'ok' | 'failed' | 'lost';
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
  /** `stdout` or `stderr`, if it is known which. */
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
  /** Why it is shown as it came. */
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
