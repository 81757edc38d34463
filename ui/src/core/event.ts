// Events as the wire carries them, and whether one fits the model of its type.
import type { KnownEvent } from '../contract.ts';

/** An event as received: any field may have any type, because events that do not fit their model are not dropped. */
export type WireEvent = { readonly [field: string]: unknown };

const FIELDS: Record<string, 'string' | 'number' | 'boolean'> = {
  agent_version: 'string',
  block: 'number',
  call_id: 'string',
  command: 'string',
  content: 'string',
  cost_usd: 'number',
  cwd: 'string',
  diff: 'string',
  duration_ms: 'number',
  error: 'string',
  exit_code: 'number',
  git_commit: 'string',
  kind: 'string',
  lines_added: 'number',
  lines_removed: 'number',
  message_id: 'string',
  model: 'string',
  output: 'string',
  parent_call_id: 'string',
  partial: 'boolean',
  path: 'string',
  prompt: 'string',
  raw: 'string',
  rerun_of: 'string',
  retryable: 'boolean',
  role: 'string',
  session_id: 'string',
  status: 'string',
  stream: 'string',
  timestamp: 'string',
  tokens: 'number',
  tool: 'string',
  toolchain: 'string',
  unanswered: 'boolean',
};

const REQUIRED: Record<KnownEvent['type'], readonly string[]> = {
  started: [],
  prompt_sent: ['prompt'],
  response_chunk: ['content'],
  response_complete: ['content'],
  thinking: ['content'],
  usage: ['usage'],
  tool_call: ['tool'],
  tool_result: [],
  bash_command: ['command'],
  bash_output: ['output'],
  file_read: ['path'],
  file_write: ['path'],
  completed: ['status'],
  error: ['error'],
  unknown: ['raw'],
};

export function isKnownType(type: string): type is KnownEvent['type'] {
  return Object.hasOwn(REQUIRED, type);
}

/** Return the typed event if every field that the page shows fits the model, else null. */
export function known(event: WireEvent): KnownEvent | null {
  const type = event.type;
  if (typeof type !== 'string' || !isKnownType(type)) return null;
  for (const field of REQUIRED[type]) {
    if (event[field] === undefined || event[field] === null) return null;
  }
  for (const field in event) {
    const value = event[field];
    if (value === null || value === undefined) continue;
    if (Object.hasOwn(FIELDS, field) && typeof value !== FIELDS[field]) return null;
    if (field === 'usage' && typeof value !== 'object') return null;
  }
  return event as unknown as KnownEvent;
}

/** The event's timestamp in ms since 1970; null if it has none or it is invalid. */
export function timeOf(event: WireEvent): number | null {
  const stamp = event.timestamp;
  if (typeof stamp !== 'string') return null;
  // The predecessor of workcast wrote UTC without an offset.
  const time = Date.parse(/(?:Z|[+-]\d\d:?\d\d)$/.test(stamp) ? stamp : `${stamp}Z`);
  return Number.isNaN(time) ? null : time;
}

/** The size of the whole line in bytes if the event was truncated on the wire, else null. */
export function truncatedBytes(event: WireEvent): number | null {
  const cut = event.truncated;
  if (typeof cut !== 'object' || cut === null || !('bytes' in cut)) return null;
  return typeof cut.bytes === 'number' ? cut.bytes : null;
}
